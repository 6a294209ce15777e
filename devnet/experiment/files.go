package experiment

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
)

// Files are the first 16 hex digits of the SHA-256 of each file that an experiment names: the same
// path with another content is another experiment. They are "" where a key names no file, or one that
// cannot be read.
type Files struct {
	Latency  string `json:"latency,omitempty"`
	Topology string `json:"topology,omitempty"`
}

func (f *Files) resolve(n *Net) {
	for _, one := range n.files(f) {
		if one.path == "" {
			*one.sum = ""
		} else if *one.sum == "" {
			*one.sum, _ = sumOf(one.path) // who uses the file names the error
		}
	}
}

// named is a file that a key names, "" for none, and what is known of its content.
type named struct {
	key, path string
	sum       *string
}

// files are those that n names.
func (n *Net) files(f *Files) []named {
	latency := ""
	if !strings.HasPrefix(n.Latency, "uniform:") && strings.ContainsAny(n.Latency, `./\`) { // as link.ParseLatency reads it
		latency = n.Latency
	}
	topology, isFile := strings.CutPrefix(n.Topology, "file:")
	if !isFile {
		topology = ""
	}
	return []named{{"net.latency", latency, &f.Latency}, {"net.topology", topology, &f.Topology}}
}

// checkFiles refuses an experiment whose files have changed since it was resolved: its digest would lie.
func (s *Spec) checkFiles() error {
	for _, one := range s.Net.files(&s.Files) {
		if one.path == "" || *one.sum == "" {
			continue
		}
		sum, err := sumOf(one.path)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrInvalid, one.key, err)
		}
		if sum != *one.sum {
			return fmt.Errorf("%w: %s: %s has changed since the experiment was read: start it again", ErrInvalid, one.key, one.path)
		}
	}
	return nil
}

func sumOf(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}
