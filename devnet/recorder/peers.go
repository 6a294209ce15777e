package recorder

import "github.com/pheme-net/pheme/p2p/trace"

// peers notes how many peers each node that is up has when the window ends.
func (j *join) peers() {
	end := j.in.Window.To - 1
	for i := range j.in.Nodes {
		if !j.upAt(i, end) {
			continue
		}
		var began int64 // of the life it is in: what a former one was connected to is gone
		for _, life := range j.lives(i) {
			if life.Has(end) {
				began = life.From
			}
		}
		with := map[uint64]bool{}
		for _, e := range j.in.Nodes[i].Events {
			switch {
			case e.At < began || e.At > end:
			case e.Kind == trace.PeerUp:
				with[e.Peer] = true
			case e.Kind == trace.PeerDown:
				delete(with, e.Peer)
			}
		}
		j.run.Peers = append(j.run.Peers, len(with))
	}
}
