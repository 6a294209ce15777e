package p2p

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"

	"github.com/pheme-net/pheme/chain"
)

// TestSilenceIsAlwaysNoticed: in whatever order messages come and meshes change,
// a peer that stays in a mesh and never brings anything is silent in the end, if
// there are others; and nobody is who brought something of every hundred.
func TestSilenceIsAlwaysNoticed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const need = 3
		s := newSilence(need)
		now := time.Unix(0, 0)
		up := rapid.IntRange(1, 12).Draw(t, "peers")
		topic := rapid.IntRange(0, numTopics-1).Draw(t, "topic")
		s.graft("silent", topic, now)
		s.graft("honest", topic, now)
		for i := range rapid.IntRange(1, 400).Draw(t, "messages") {
			from := "others"
			if i%50 == 49 {
				from = "honest"
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 1000).Draw(t, "gap")) * time.Millisecond)
			s.brought(peerOf(from), topic, from == "others" || rapid.Bool().Draw(t, "new"), now)
			s.judge(up, now)
		}
		messages, took := s.seen[topic]-s.mesh[topic]["silent"].seen, now.Sub(s.mesh[topic]["silent"].at)
		deserved := messages >= 100 && took >= time.Minute && up-1 >= need
		if got := s.penalty("silent") < 0; got != deserved {
			t.Fatalf("silent for %d messages and %v, of %d peers: %v", messages, took, up, got)
		}
		if s.penalty("honest") != 0 {
			t.Fatal("the honest peer is held to be silent")
		}
		s.judge(up, now.Add(silentFor+silentTime))
		s.prune("silent", topic)
		s.judge(up, now.Add(3*silentFor))
		if s.penalty("silent") != 0 {
			t.Fatal("held against it for ever")
		}
	})
}

// overdue tells whether a peer has been silent for so long that two looks must
// have found it.
func overdue(s *silence, p peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.due(p, topicTx, time.Now().Add(-10*time.Second))
}

// TestSilentPeersLeaveTheMesh runs GossipSub's own scores: of eight nodes that
// all know each other one passes nothing on; its score falls below zero at every
// node that has it in its mesh, and it is put out of the mesh, while no score of
// anybody else does.
func TestSilentPeersLeaveTheMesh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const nodes = 8
		v := newBubble(t, "silent", nodes, func(c *Config) { c.D, c.Dlo, c.Dhi, c.NoRepair = 4, 3, 5, true })
		defer v.burst()
		for i := range nodes {
			for j := range i - 1 {
				v.join(j, i)
			}
		}
		mute := v.nodes[3]
		mute.back.deaf(true)
		meshed := make(map[*testNode]bool)
		for i := range 400 {
			from := v.nodes[i%nodes]
			if from != mute {
				txs := []*chain.Tx{v.tx(i%len(v.users), 10)}
				from.back.hold(txs...)
				if err := from.net.PublishTx(txs); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(500 * time.Millisecond)
			for _, n := range v.nodes {
				meshed[n] = meshed[n] || n.net.tracers[topicTx].inMesh(mute.host.ID())
			}
		}
		if len(meshed) == 0 {
			t.Fatal("it was in no mesh: the test shows nothing")
		}
		put := 0
		for i, n := range v.nodes {
			for _, p := range n.net.Peers() {
				switch {
				case p.ID != mute.host.ID() && n != mute && p.Score < 0:
					t.Errorf("node %d has an honest peer at %.1f", i, p.Score)
				case p.ID == mute.host.ID() && p.TxMesh && overdue(n.net.silence, p.ID):
					t.Errorf("node %d keeps it in its mesh, at %.1f", i, p.Score)
				case p.ID == mute.host.ID() && meshed[n] && p.Score < 0:
					put++
				}
			}
		}
		if put == 0 {
			t.Error("its score is below zero nowhere")
		}
	})
}
