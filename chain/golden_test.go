package chain

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/holiman/uint256"
	"github.com/syndtr/goleveldb/leveldb"
)

// update rewrites the golden files: review the diff, for a change in it is a
// change of a format on wire or disk.
var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// TestGolden pins every format on wire and disk.
func TestGolden(t *testing.T) {
	w := newWorld(2, 2)
	b := w.next(w.genesis(), 3,
		w.transfer(0, 0, w.user(1), 12345, 1, 0, 2),
		w.sign(1, &types.LegacyTx{To: &common.Address{7}, Value: uint256.NewInt(1).ToBig(), Gas: 21000, GasPrice: uint256.NewInt(2e9).ToBig()}),
		w.sign(1, &types.AccessListTx{ChainID: uint256.NewInt(1337).ToBig(), Nonce: 1, To: &common.Address{7}, Gas: 30000, GasPrice: uint256.NewInt(2e9).ToBig(),
			AccessList: types.AccessList{{Address: common.Address{8}, StorageKeys: []common.Hash{{9}}}}}),
	)
	rec := record{Seq: 7, Head: b.id, Number: 1, Prev: common.Hash{5}}
	var out bytes.Buffer
	put := func(name string, raw []byte) { fmt.Fprintf(&out, "%s %x\n", name, raw) }
	put("genesis.id", w.g.Hash().Bytes())
	put("genesis.header", encodeRLP(w.g.Header()))
	put("block.id", b.id[:])
	put("block.raw", b.raw)
	put("block.signed_header", b.Encode())
	put("block.brief", encodeRLP(b.Brief()))
	put("state.root", b.state.Root().Bytes())
	put("state.bucket", b.state.Bucket(BucketOf(w.user(0))))
	put("state.proof", b.state.Prove(BucketOf(w.user(0))).Encode())
	put("disk.changes", encodeChanges([]touched{{w.user(0), w.genesis().state.Account(w.user(0)), b.state.Account(w.user(0))}, {common.Address{7}, Account{}, b.state.Account(common.Address{7})}}))
	put("disk.parts", diskStateOf(b.state, 1).write(new(leveldb.Batch), b.state, 3).parts())
	put("disk.record", encodeRLP(rec))
	put("disk.record.hash", rec.hash().Bytes())
	put("disk.meta", encodeRLP(meta{Version: formatVersion, Genesis: w.g.Hash(), Network: w.g.Network()}))
	put("disk.invalid", encodeRLP(invalidRecord{b.Encode(), "reason"}))
	open := unit{first: 1}.push(leadsOf(b.txs), b.BodySize())
	put("disk.group", open.groups()[groupOf(open.leads[2])])
	put("disk.group_key", groupKey(groupOf(open.leads[2]), open.first))
	put("disk.block_key", blockKey(tableBody, 1, b.id))
	put("file.head", headMark{Seq: 7, Head: b.id, Record: rec.hash()}.encode())
	put("file.slot", encodeSlot(3))
	golden(t, "formats.txt", out.Bytes())
	golden(t, "genesis.json", w.g.Encode())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	g, x := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(x)) {
		if g[i] != x[i] {
			t.Errorf("%s line %d:\nhave %s\nwant %s", name, i+1, g[i], x[i])
		}
	}
	if len(g) != len(x) {
		t.Errorf("%s has %d lines, want %d", name, len(g), len(x))
	}
}
