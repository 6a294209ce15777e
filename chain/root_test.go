package chain

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/trie"
)

// values are encoded as they are by types.DeriveSha.
type values [][]byte

func (v values) Len() int                           { return len(v) }
func (v values) EncodeIndex(i int, w *bytes.Buffer) { w.Write(v[i]) }
func (v values) at(i int) []byte                    { return v[i] }

// TestRootIsEthereums compares with go-ethereum at every length up to 600, where the
// keys grow to two and three bytes, and around 65,536, where they grow to four; with
// values so short that nodes stand in their parents whole, and long ones.
func TestRootIsEthereums(t *testing.T) {
	rng := rand.NewChaCha8([32]byte{1})
	list := func(n int, size func(i int) int) (out values) {
		for i := range n {
			v := make([]byte, size(i))
			_, _ = rng.Read(v)
			out = append(out, v)
		}
		return out
	}
	compare := func(name string, v values) {
		if got, want := deriveRoot(len(v), v.at), types.DeriveSha(v, trie.NewStackTrie(nil)); got != want {
			t.Fatalf("%s: root of %d values is %s, want %s", name, len(v), got, want)
		}
	}
	for n := range 600 {
		compare("one byte", list(n, func(int) int { return 1 }))
		compare("mixed", list(n, func(i int) int { return 1 + (i*7+n)%70 }))
	}
	for _, n := range []int{65_535, 65_536, 65_537, 65_800} {
		compare("many", list(n, func(int) int { return 2 }))
	}
	for _, size := range []int{55, 56, 255, 256, 65_535, 65_536, 70_000} {
		compare(fmt.Sprint(size), list(3, func(int) int { return size }))
	}
}

// BenchmarkDeriveRoot hashes 1 MiB of transactions of one size, by deriveRoot and by
// go-ethereum.
func BenchmarkDeriveRoot(b *testing.B) {
	for _, size := range []int{110, 1 << 10, 16 << 10} {
		var v values
		for range (1 << 20) / size {
			v = append(v, bytes.Repeat([]byte{0xee}, size))
		}
		b.Run(fmt.Sprintf("tx=%dB/ours", size), func(b *testing.B) {
			b.SetBytes(int64(len(v) * size))
			for b.Loop() {
				deriveRoot(len(v), v.at)
			}
		})
		b.Run(fmt.Sprintf("tx=%dB/stacktrie", size), func(b *testing.B) {
			b.SetBytes(int64(len(v) * size))
			for b.Loop() {
				types.DeriveSha(v, trie.NewStackTrie(nil))
			}
		})
	}
}
