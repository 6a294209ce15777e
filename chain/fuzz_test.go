package chain

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
	"pgregory.net/rapid"
)

// refused fails unless err is a permanent defect, which is what bytes of a peer
// that cannot be decoded are.
func refused(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrInvalid) {
		t.Fatalf("%v does not wrap ErrInvalid", err)
	}
}

func FuzzDecodeGenesis(f *testing.F) {
	f.Add([]byte(tinyGenesis))
	f.Add(newWorld(2, 2).g.Encode())
	f.Add([]byte(`{"alloc":{"0x":1}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		g, err := DecodeGenesis(raw)
		if err != nil {
			refused(t, err)
			return
		}
		again, err := DecodeGenesis(g.Encode())
		if err != nil || again.Hash() != g.Hash() {
			t.Fatalf("Encode gives another genesis: %v", err)
		}
	})
}

func FuzzDecodeTx(f *testing.F) {
	w := newWorld(1, 1)
	f.Add(w.transfer(0, 0, to7, 1).Raw())
	f.Add(w.transfer(0, 9, to7, 1, 1, 2, 3).Raw())
	f.Add([]byte{3, 0xc0})
	f.Add([]byte{0xc0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		tx, err := DecodeTx(raw)
		if err != nil {
			refused(t, err)
			return
		}
		again, err := tx.Inner().MarshalBinary()
		if err != nil || !bytes.Equal(again, raw) || !bytes.Equal(tx.Raw(), raw) || tx.Hash() != tx.Inner().Hash() {
			t.Fatalf("%x encodes to %x, %v", raw, again, err)
		}
		if err := CheckTx(tx, w.g); err != nil {
			refused(t, err)
		}
	})
}

func FuzzDecodeTxList(f *testing.F) {
	w := newWorld(1, 2)
	for n := range 3 {
		f.Add(w.run(w.genesis(), 1, n, 1)[0].TxList())
	}
	f.Fuzz(func(t *testing.T, list []byte) {
		txs, err := DecodeTxList(list, nil)
		if err != nil {
			refused(t, err)
			return
		}
		if again := assemble(w.genesis().SignedHeader, txs); !bytes.Equal(again.TxList(), list) {
			t.Fatalf("%x encodes to %x", list, again.TxList())
		}
	})
}

func FuzzDecodeBlock(f *testing.F) {
	w := newWorld(1, 2)
	for n := range 3 {
		f.Add(w.run(w.genesis(), 1, n, 1)[0].Raw())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := DecodeBlock(raw, nil)
		if err != nil {
			refused(t, err)
			return
		}
		if again := assemble(b.SignedHeader, b.Txs()); !bytes.Equal(again.Raw(), raw) || again.ID() != b.ID() || len(b.body) != len(again.body) {
			t.Fatalf("%x encodes to %x", raw, again.Raw())
		}
		// What Check rejects, the full rules reject; what it passes keeps the stateless ones.
		c := openChain(t, w, Config{}, "")
		err = c.Check(b, time.Now())
		if _, full := c.Add(b); errors.Is(err, ErrInvalid) && !errors.Is(full, ErrInvalid) || err == nil && errors.Is(full, ErrInvalid) {
			t.Fatalf("Check = %v, Add = %v", err, full)
		}
	})
}

func FuzzDecodeSignedHeader(f *testing.F) {
	w := newWorld(1, 2)
	f.Add(w.next(w.genesis(), 1).Encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		sh, err := DecodeSignedHeader(raw)
		if err != nil {
			refused(t, err)
			return
		}
		if !bytes.Equal(sh.Encode(), raw) || sh.ID() != sh.Header().Hash() {
			t.Fatalf("%x encodes to %x", raw, sh.Encode())
		}
		if err := sh.checkRules(w.g); err != nil {
			refused(t, err)
		}
	})
}

func FuzzDecodeBucket(f *testing.F) {
	st := newWorld(1, 4).genesis().state
	for i, bucket := range st.buckets() {
		f.Add(i, bucket)
	}
	f.Fuzz(func(t *testing.T, index uint16, raw []byte) {
		changes, err := DecodeBucket(index, raw)
		if err != nil {
			refused(t, err)
			return
		}
		if got := (State{}).With(changes).Bucket(index); !bytes.Equal(got, raw) {
			t.Fatalf("%x encodes to %x", raw, got)
		}
	})
}

func FuzzDecodeProof(f *testing.F) {
	st := newWorld(1, 4).genesis().state
	for i, bucket := range st.buckets() {
		f.Add(i, bucket, st.Prove(i).Encode())
	}
	f.Add(uint16(0), []byte(nil), st.Prove(0).Encode())
	f.Fuzz(func(t *testing.T, index uint16, bucket, raw []byte) {
		p, err := DecodeProof(raw)
		if err != nil {
			refused(t, err)
			return
		}
		if !bytes.Equal(p.Encode(), raw) {
			t.Fatalf("%x encodes to %x", raw, p.Encode())
		}
		if _, err := VerifyBucket(st.Root(), index, bucket, p); err != nil {
			refused(t, err)
		} else if !bytes.Equal(bucket, st.Bucket(index)) {
			t.Fatalf("proved %x for bucket %04x, which is %x", bucket, index, st.Bucket(index))
		}
	})
}

// FuzzDecodeDisk gives any bytes to every decoder of files and values of ours.
func FuzzDecodeDisk(f *testing.F) {
	w := newWorld(1, 2)
	b := w.next(w.genesis(), 1)
	rec := record{Seq: 7, Head: b.id, Number: 1}
	f.Add(encodeRLP(rec))
	f.Add(headMark{Seq: 7, Head: b.id, Record: rec.hash()}.encode())
	f.Add(markFile(headMark{Seq: 8, Head: b.id}))
	f.Add(encodeSlot(9))
	f.Add(encodeChanges([]touched{{w.user(0), Account{}, Account{Nonce: 3}}, {to7, Account{Balance: *ether}, Account{}}}))
	f.Add(unit{first: 3}.push([]uint64{5, 7}, 200).groups()[0])
	f.Add(make([]byte, 8))
	f.Add(diskStateOf(State{}, 9).parts())
	f.Add(encodeRLP(meta{Version: 1, Network: "x"}))
	f.Add(encodeRLP(invalidRecord{b.Encode(), "x"}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		same := func(what string, again []byte, err error) {
			if err != nil && (!errors.Is(err, ErrCorrupt) || errors.Is(err, ErrInvalid)) {
				t.Fatalf("%s: %v, want ErrCorrupt", what, err)
			}
			if err == nil && !bytes.Equal(again, raw) {
				t.Fatalf("%s: %x encodes to %x", what, raw, again)
			}
		}
		r, err := decodeRecord(raw)
		same("record", encodeRLP(r), err)
		mark, err := decodeHeadMark(raw)
		same("head marker", mark.encode(), err)
		if _, err := newestMark(raw); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("markers: %v, want ErrCorrupt", err)
		}
		slot, err := decodeSlot(raw)
		same("slot", encodeSlot(slot), err)
		changes, err := decodeChanges(raw)
		same("changes", encodeChanges(changes), err)
		as, err := decodeParts(raw, 1<<40)
		same("parts", diskState{as: as}.parts(), err)
		fuzzGroup(t, raw, same)
		var m meta
		err = decodeRLP("meta", raw, &m)
		same("meta", encodeRLP(m), err)
		var v invalidRecord
		err = decodeRLP("invalid", raw, &v)
		same("invalid", encodeRLP(v), err)
	})
}

// fuzzGroup reads raw as entries of a group of transactions, and as the end of a unit.
func fuzzGroup(t *testing.T, raw []byte, same func(what string, again []byte, err error)) {
	const group, first = 5, 1000
	var again []byte
	_, err := decodeGroup(groupKey(group, first), raw, func(lead uint64, p place) {
		if groupOf(lead) != group || knownOf(lead) != lead || p.number < first || p.number >= first+unitBlocks || p.index < 0 {
			t.Fatalf("entry %x %v", lead, p)
		}
		again = binary.BigEndian.AppendUint64(again, markOf(lead)|(p.number-first)<<positionBits|uint64(p.index))
	})
	same("group", again, err)
	u, err := decodeSpan(numberKey(tableUnit, first), raw)
	same("unit", binary.BigEndian.AppendUint64(nil, u.last), err)
	if err == nil && (u.first != first || u.last < first || u.last >= first+unitBlocks) {
		t.Fatalf("unit %v", u)
	}
}

// FuzzStateMachine makes transactions of any bytes, good and bad, runs them, and
// looks at what must hold: nothing is made or lost, nonces grow by one, a failed
// transaction changes nothing, and undo restores the root.
func FuzzStateMachine(f *testing.F) {
	w := newWorld(1, 4)
	var signed [4][8]*Tx // signing is slow: a fixed set, of which bytes pick
	for from := range signed {
		for nonce := range signed[from] {
			to := w.user((from + nonce) % 4)
			if nonce == 5 {
				to = common.Address{byte(from)}
			}
			signed[from][nonce] = w.transfer(from, uint64(nonce), to, uint64(nonce)*1e18)
		}
	}
	for i := range w.users[:2] { // rich and poor
		w.g.Alloc[w.user(i)] = uint256.NewInt(uint64(i) * 7e18)
	}
	base := w.g.state()
	f.Add([]byte{0, 8, 1, 16, 24, 9, 2, 10, 3})
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	f.Fuzz(func(t *testing.T, picks []byte) {
		tr := newTransition(w.g, base, w.g.Proposers[0], len(picks))
		for _, p := range picks {
			tx := signed[p/8%4][p%8]
			before := State{}.with(tr.changes())
			nonce := tr.account(addrOf(w.users[p/8%4])).now.Nonce
			if err := tr.apply(tx); err == nil {
				if tx.Nonce() != nonce {
					t.Fatalf("nonce %d applied after %d", tx.Nonce(), nonce)
				}
				continue
			}
			if after := (State{}).with(tr.changes()); before.Root() != after.Root() {
				t.Fatal("a failed transaction changed something")
			}
		}
		changes := tr.changes()
		next := base.with(changes)
		sum := supply(next)
		sum.Add(sum, new(uint256.Int).Mul(w.g.BaseFee, uint256.NewInt(tr.gasUsed)))
		if want := supply(base); !sum.Eq(want) {
			t.Fatalf("balances and burned fees are %s, want %s", sum.Dec(), want.Dec())
		}
		if back := next.With(undo(changes)); back.Root() != base.Root() || !maps.Equal(maps.Collect(back.All()), maps.Collect(base.All())) {
			t.Fatal("undo does not restore the state")
		}
	})
}

// FuzzChainOps drives the model of TestChainModel by bytes.
func FuzzChainOps(f *testing.F) {
	f.Add(bytes.Repeat([]byte{1, 2, 3, 5, 8, 13, 21, 34}, 200))
	f.Fuzz(rapid.MakeFuzz(chainModel))
}

// FuzzStoreOpen changes bytes of the files under a chain. Opening gives an error
// or a store that verifies as the prefix that was there, never a gap.
func FuzzStoreOpen(f *testing.F) {
	w := newWorld(1, 2)
	blocks := w.run(w.genesis(), 40, 2, 1)
	good := newDisk()
	c, err := diskChain(w, good, good)
	if err != nil {
		f.Fatal(err)
	}
	add(f, c, blocks...)
	if err := c.Close(); err != nil {
		f.Fatal(err)
	}
	names := good.names()
	f.Add([]byte{1, 0, 50, 0xff})
	f.Add([]byte{0, 1, 0, 1, 2, 3, 4, 5, 200, 0, 9, 9})
	f.Fuzz(func(t *testing.T, edits []byte) {
		d := newDisk()
		d.current, d.mark = good.current, good.mark
		for fd, file := range good.files {
			d.files[fd] = &diskFile{data: bytes.Clone(file.data)}
		}
		for ; len(edits) >= 4; edits = edits[4:] {
			file := d.files[names[int(edits[0])%len(names)]]
			if at := int(binary.BigEndian.Uint16(edits[1:])); len(file.data) > 0 {
				file.data[at*7%len(file.data)] ^= edits[3]
			}
		}
		c, err := diskChain(w, d, d)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrInvalid) {
				t.Fatalf("Open = %v, want ErrCorrupt", err)
			}
			return
		}
		defer c.Close()
		if c.HeadID() != blocks[len(blocks)-1].ID() {
			t.Fatalf("opened at block %d without an error", c.Weight())
		}
		if _, err := c.Verify(context.Background()); err == nil {
			for _, b := range blocks {
				if got := c.BlockByNumber(b.Number()); got == nil || !bytes.Equal(got.Raw(), b.Raw()) {
					t.Fatalf("block %d is another one, and Verify does not see it", b.Number())
				}
			}
		} else if !errors.Is(err, ErrCorrupt) {
			t.Fatalf("Verify = %v, want ErrCorrupt", err)
		}
	})
}
