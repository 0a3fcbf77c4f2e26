package docker

import (
	"debug/elf"
	"encoding/binary"
	"net/netip"
)

// connectProgram is a program for linux/amd64 that connects to an IPv4 address over TCP, for
// two seconds at most, and ends with the number of the error as its exit code, 0 when it was
// connected. It needs nothing around it. Other platforms have none here: nil.
func connectProgram(platform string, to netip.AddrPort) []byte {
	if platform != "linux/amd64" || !to.Addr().Is4() {
		return nil
	}
	code := []byte{
		0x31, 0xd2, // xor edx, edx
		0xbe, 1, 0, 0, 0, // mov esi, SOCK_STREAM
		0xbf, 2, 0, 0, 0, // mov edi, AF_INET
		0xb8, 41, 0, 0, 0, // mov eax, socket
		0x0f, 0x05, // syscall
		0x89, 0xc3, // mov ebx, eax
		0x89, 0xdf, // mov edi, ebx
		0xbe, 1, 0, 0, 0, // mov esi, SOL_SOCKET
		0xba, 21, 0, 0, 0, // mov edx, SO_SNDTIMEO, which bounds connect, too
		0x4c, 0x8d, 0x15, 0x2d, 0, 0, 0, // lea r10, [rip+45], the timeout
		0x41, 0xb8, 16, 0, 0, 0, // mov r8d, 16
		0xb8, 54, 0, 0, 0, // mov eax, setsockopt
		0x0f, 0x05, // syscall
		0x89, 0xdf, // mov edi, ebx
		0x48, 0x8d, 0x35, 0x27, 0, 0, 0, // lea rsi, [rip+39], the address
		0xba, 16, 0, 0, 0, // mov edx, 16
		0xb8, 42, 0, 0, 0, // mov eax, connect
		0x0f, 0x05, // syscall
		0xf7, 0xd8, // neg eax
		0x89, 0xc7, // mov edi, eax
		0xb8, 60, 0, 0, 0, // mov eax, exit
		0x0f, 0x05, // syscall
		2, 0, 0, 0, 0, 0, 0, 0, // seconds of the timeout
		0, 0, 0, 0, 0, 0, 0, 0, // and microseconds
		2, 0, // AF_INET
	}
	code = binary.BigEndian.AppendUint16(code, to.Port())
	code = append(code, to.Addr().AsSlice()...)
	return executable(elf.EM_X86_64, append(code, 0, 0, 0, 0, 0, 0, 0, 0))
}
