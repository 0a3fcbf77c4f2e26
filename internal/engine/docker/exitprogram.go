package docker

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
)

// exitProgram is a program for a platform such as linux/amd64 that ends at once
// with exit code 0, and needs nothing around it; nil for a platform that has none
// here. A probe runs it where no image can be had.
func exitProgram(platform string) []byte {
	var machine elf.Machine
	var code []byte // exit(0)
	switch arch, _ := strings.CutPrefix(platform, "linux/"); arch {
	case "amd64":
		machine, code = elf.EM_X86_64, []byte{
			0x31, 0xff, // xor edi, edi
			0xb8, 60, 0, 0, 0, // mov eax, 60
			0x0f, 0x05, // syscall
		}
	case "arm64":
		machine, code = elf.EM_AARCH64, []byte{
			0x00, 0x00, 0x80, 0xd2, // mov x0, #0
			0xa8, 0x0b, 0x80, 0xd2, // mov x8, #93
			0x01, 0x00, 0x00, 0xd4, // svc #0
		}
	case "riscv64":
		machine, code = elf.EM_RISCV, []byte{
			0x13, 0x05, 0x00, 0x00, // li a0, 0
			0x93, 0x08, 0xd0, 0x05, // li a7, 93
			0x73, 0x00, 0x00, 0x00, // ecall
		}
	default:
		return nil
	}
	return executable(machine, code)
}

// executable is a program of this code: a header, one segment with all of the file, and the
// code, which runs from its beginning.
func executable(machine elf.Machine, code []byte) []byte {
	const base, headers = 0x400000, 64 + 56
	size := uint64(headers + len(code))
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Entry: base + headers, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64,
	}
	segment := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base, Paddr: base,
		Filesz: size, Memsz: size, Align: 0x1000,
	}
	var b bytes.Buffer
	for _, part := range []any{header, segment, code} {
		_ = binary.Write(&b, binary.LittleEndian, part) // to memory, of fixed sizes
	}
	return b.Bytes()
}
