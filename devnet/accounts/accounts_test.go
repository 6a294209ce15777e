package accounts

import (
	"encoding/hex"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"
)

// The ten addresses every tool that shares the mnemonic prints.
var known = []string{
	"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
	"0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
	"0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
	"0x90F79bf6EB2c4f870365E785982E1f101E93b906",
	"0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65",
	"0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc",
	"0x976EA74026E726554dB657fA54763abd0C3a0aa9",
	"0x14dC79964da2C08b23698B3D3cc7Ca32193d9955",
	"0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f",
	"0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
}

func TestDeriveKnownAccounts(t *testing.T) {
	got, err := Derive(Mnemonic, len(known))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range known {
		if got[i].Address.Hex() != want {
			t.Errorf("account %d = %s, want %s", i, got[i].Address.Hex(), want)
		}
	}
	first := hex.EncodeToString(crypto.FromECDSA(got[0].Key))
	if want := "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"; first != want {
		t.Errorf("key 0 = %s, want %s", first, want)
	}
}

// Test vector 1 of BIP-32: m/0' of the seed 000102...0f.
func TestChildOfBIP32Vector(t *testing.T) {
	seed, _ := hex.DecodeString("000102030405060708090a0b0c0d0e0f")
	m := master(seed)
	if got, want := hex.EncodeToString(m.key), "e8f32e723decf4051aefac8e2c93c9c5b214313817cdb01a1494b917c8436b35"; got != want {
		t.Fatalf("m = %s, want %s", got, want)
	}
	c, err := m.child(hardened)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(c.key), "edb2e14f9ee77d26dd93b4ecede8d16ed408ce149b6cd80b0715a2d911a0afea"; got != want {
		t.Fatalf("m/0' = %s, want %s", got, want)
	}
	if c, err = c.child(1); err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(c.key), "3c6cb8d0f6a264c91ea8b5030fadaa8e538b020f0a387421a12de9319dc93368"; got != want {
		t.Fatalf("m/0'/1 = %s, want %s", got, want)
	}
}
