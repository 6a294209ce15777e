package p2p

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/recon"
)

var update = flag.Bool("update", false, "rewrite the golden file")

func samples() map[string][]byte {
	id := func(n byte) common.Hash { return common.Hash{0: n, 31: n} }
	var framed bytes.Buffer
	_ = writeFrame(&framed, bytes.Repeat([]byte{7}, 200))
	return map[string][]byte{
		"status":  status{Version: statusVersion, Genesis: id(1), Number: 300, Slot: 301, Head: id(2)}.encode(),
		"request": request{Kind: askBlocks, IDs: []common.Hash{id(1), id(2)}}.encode(),
		"locator": request{Kind: askAfter, IDs: []common.Hash{id(3)}}.encode(),
		"answer":  newAnswer(signedHeaders(2)).encode(),
		"batch":   encodeBatch(nonce{1, 2, 3, 4, 5, 6, 7, 8}, [][]byte{{0x7f}, {0x80}, bytes.Repeat([]byte{9}, 60)}),
		"frame":   framed.Bytes(),
		"hello": hello{
			Key: recon.Key{1}, Mode: recon.Pull, Insist: true, Status: status{Version: statusVersion}, Sum: 2, Check: 3,
			Profile: recon.AppendProfile(nil, recon.NewSet(recon.Key{1}, 0).Profile()),
		}.encode(),
		"sketch": sketch{Kind: sketchSymbols, Status: status{Version: statusVersion}, Items: 5, First: 6, Symbols: make([]byte, 13)}.encode(),
		"ask":    ask{IDs: encodeIDs([]recon.ID{1}), Offers: encodeIDs([]recon.ID{2})}.encode(),
	}
}

// TestGolden pins every message on the wire. A change needs a new protocol id.
func TestGolden(t *testing.T) {
	path := filepath.Join("testdata", "wire.golden")
	var lines []string
	for _, name := range []string{"status", "request", "locator", "answer", "batch", "frame", "hello", "sketch", "ask"} {
		lines = append(lines, name+" "+hex.EncodeToString(samples()[name]))
	}
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("messages changed:\n%s\nwant\n%s", got, want)
	}
}

func TestFrames(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, io.EOF},
		{"half a length", []byte{0x80}, io.ErrUnexpectedEOF},
		{"half a frame", []byte{3, 1}, io.ErrUnexpectedEOF},
		{"no frame", []byte{3}, io.ErrUnexpectedEOF},
		{"too long", []byte{11, 1, 2, 3}, ErrProtocol},
		{"far too long", []byte{0xff, 0xff, 0xff, 0xff, 0x0f}, ErrProtocol},
		{"endless", bytes.Repeat([]byte{0x80}, 20), ErrProtocol},
		{"not minimal", []byte{0x81, 0x00, 1}, ErrProtocol},
		{"good", []byte{2, 8, 9}, nil},
		{"empty", []byte{0}, nil},
	} {
		b, err := readFrame(bytes.NewReader(c.in), 10)
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if err == nil && !bytes.Equal(b, c.in[1:]) {
			t.Errorf("%s: %x", c.name, b)
		}
	}
}

func TestDecodersRefuse(t *testing.T) {
	good := samples()
	many := make([]common.Hash, maxLocator+1)
	for _, c := range []struct {
		name string
		in   []byte
		f    func([]byte) error
	}{
		{"status of another version", status{Version: 2}.encode(), statusError},
		{"long status", make([]byte, maxStatusBytes+1), statusError},
		{"status with a tail", append(good["status"], 0), statusError},
		{"request for nothing", request{Kind: askBlocks}.encode(), requestError},
		{"request for too much", request{Kind: askBlocks, IDs: many[:maxAsked+1]}.encode(), requestError},
		{"long locator", request{Kind: askAfter, IDs: many[:maxLocator+1]}.encode(), requestError},
		{"unknown request", request{Kind: 3, IDs: many[:1]}.encode(), requestError},
		{"long answer", answer{Headers: make([]chain.Brief, maxHeaders+1)}.encode(), answerError},
		{"answer of no headers", mustEncode(struct {
			After   common.Hash
			Headers []rlp.RawValue
		}{Headers: []rlp.RawValue{{0xc0}}}), answerError},
		{"status for an answer", good["status"], answerError},
	} {
		if err := c.f(c.in); !errors.Is(err, ErrProtocol) || !errors.Is(err, chain.ErrInvalid) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for name, in := range map[string][]byte{
		"empty": nil, "empty list": {0xc0}, "no transactions": encodeBatch(nonce{}, nil), "short nonce": {0xc4, 0x81, 0x80, 0xc1, 0x80},
		"tail": append(bytes.Clone(good["batch"]), 0), "too long": encodeBatch(nonce{}, [][]byte{make([]byte, maxBatchBytes)}),
		"too many": encodeBatch(nonce{}, make([][]byte, maxBatchTxs+1)),
	} {
		if _, _, err := decodeBatch(in); !errors.Is(err, ErrBatch) || !errors.Is(err, chain.ErrInvalid) {
			t.Errorf("batch, %s: %v", name, err)
		}
	}
}

// signedHeaders are n headers in a row, signed by nobody of importance.
func signedHeaders(n int) (out []*chain.SignedHeader) {
	var parent common.Hash
	for i := range n {
		h, err := chain.SignHeader(&types.Header{
			ParentHash: parent, Number: big.NewInt(int64(i + 1)), Difficulty: new(big.Int), BaseFee: big.NewInt(7), Extra: []byte{},
		}, testKey("nobody"))
		if err != nil {
			panic(err)
		}
		parent = h.ID()
		out = append(out, h)
	}
	return out
}

func statusError(b []byte) error  { _, err := decodeStatus(b); return err }
func requestError(b []byte) error { _, err := decodeRequest(b); return err }
func answerError(b []byte) error  { _, err := decodeAnswer(b); return err }

func TestBatchSizeIsExact(t *testing.T) {
	for _, sizes := range [][]int{{1}, {55}, {56}, {100, 200, 300}, {32 << 10, 32<<10 - 200}, {0}} {
		var raws [][]byte
		body := 0
		for _, n := range sizes {
			raws = append(raws, bytes.Repeat([]byte{0xee}, n))
			body += stringSize(raws[len(raws)-1])
		}
		b := encodeBatch(nonce{1}, raws)
		if len(b) != batchSize(body) {
			t.Errorf("%v: %d bytes, computed %d", sizes, len(b), batchSize(body))
		}
		_, back, err := decodeBatch(b)
		if err != nil || fmt.Sprint(back) != fmt.Sprint(raws) {
			t.Errorf("%v: %v", sizes, err)
		}
		if batchTag(b) != (nonce{1}).tag() {
			t.Errorf("%v: tag %x", sizes, batchTag(b))
		}
	}
}

// fuzzRoundTrip says that what decodes is the one encoding of its value.
func fuzzRoundTrip(f *testing.F, again func([]byte) ([]byte, error)) {
	for _, s := range samples() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := again(b)
		switch {
		case err == nil && !bytes.Equal(out, b):
			t.Fatalf("%x decodes and encodes as %x", b, out)
		case err != nil && verdict(err) != Reject:
			t.Fatalf("%x: %v is not the sender's fault", b, err)
		}
	})
}

func FuzzDecodeStatus(f *testing.F) {
	fuzzRoundTrip(f, func(b []byte) ([]byte, error) {
		s, err := decodeStatus(b)
		return s.encode(), err
	})
}

func FuzzDecodeRequest(f *testing.F) {
	fuzzRoundTrip(f, func(b []byte) ([]byte, error) {
		r, err := decodeRequest(b)
		return r.encode(), err
	})
}

func FuzzDecodeAnswer(f *testing.F) {
	fuzzRoundTrip(f, func(b []byte) ([]byte, error) {
		a, err := decodeAnswer(b)
		return a.encode(), err
	})
}

func FuzzDecodeBatch(f *testing.F) {
	fuzzRoundTrip(f, func(b []byte) ([]byte, error) {
		n, raws, err := decodeBatch(b)
		if err == nil && batchTag(b) != n.tag() {
			return nil, nil
		}
		return encodeBatch(n, raws), err
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{2, 1, 1})
	f.Add(samples()["frame"])
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 10
		in := bytes.NewReader(b)
		frame, err := readFrame(in, limit)
		if err != nil {
			return
		}
		var out bytes.Buffer
		_ = writeFrame(&out, frame)
		if used := b[:len(b)-in.Len()]; len(frame) > limit || !bytes.Equal(out.Bytes(), used) {
			t.Fatalf("%x was read as %x", used, frame)
		}
	})
}

// FuzzTakeBatch: whatever comes on the transaction topic gets a verdict, the same
// one each time, and nothing of a rejected batch is admitted.
func FuzzTakeBatch(f *testing.F) {
	w := newWorld(f, "fuzz")
	n := w.node("n")
	n.stop()
	good := encodeBatch(nonce{1}, [][]byte{w.tx(0, 10).Raw(), w.tx(1, 500).Raw()})
	f.Add(good)
	f.Add(encodeBatch(nonce{2}, [][]byte{w.tx(2, 10).Raw(), {0xc0}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		clear(n.back.pool)
		first := verdict(n.net.takeBatch("x", b))
		if first == Reject && len(n.back.pool) > 0 {
			t.Fatal("a member of a rejected batch was admitted")
		}
		clear(n.back.pool)
		if again := verdict(n.net.takeBatch("x", b)); again != first {
			t.Fatalf("%v, then %v", first, again)
		}
		n.rec.forget()
	})
}
