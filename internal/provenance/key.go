package provenance

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
)

// ReadKey reads a private key: Ed25519 as PKCS#8 in PEM.
func ReadKey(file string) (ed25519.PrivateKey, error) {
	const remedy = "make a key with: openssl genpkey -algorithm ed25519 -out FILE"
	block, err := readBlock(file, "PRIVATE KEY", remedy)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged (%w); %s", file, err, remedy)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s is not an Ed25519 key; %s", file, remedy)
	}
	return key, nil
}

// ReadPublicKey reads the public half of a key: Ed25519 as PKIX in PEM.
func ReadPublicKey(file string) (ed25519.PublicKey, error) {
	const remedy = "make it of the private key with: openssl pkey -in KEY -pubout -out FILE"
	block, err := readBlock(file, "PUBLIC KEY", remedy)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKIXPublicKey(block)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged (%w); %s", file, err, remedy)
	}
	key, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%s is not an Ed25519 key; %s", file, remedy)
	}
	return key, nil
}

// readBlock reads the first block of a PEM file, which has to be of a type.
func readBlock(file, kind, remedy string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	block, _ := pem.Decode(text)
	switch {
	case block == nil:
		return nil, fmt.Errorf("%s is not a PEM file; %s", file, remedy)
	case block.Type == "ENCRYPTED PRIVATE KEY":
		return nil, fmt.Errorf("%s has a passphrase, which cannot be asked for; write it without: openssl pkey -in KEY -out FILE", file)
	case block.Type != kind:
		return nil, fmt.Errorf("%s holds a %s; want a %s: %s", file, block.Type, kind, remedy)
	}
	return block.Bytes, nil
}

// KeyID names a key in signatures: the sha256 of the public key's DER, in hex.
func KeyID(key ed25519.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("name the key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}
