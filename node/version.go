package node

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// Version is the release this source tree belongs to.
const Version = "0.1.0"

// BuildInfo describes the running binary, one fact a line: version and git revision, Go toolchain
// and platform, and the modules whose behaviour a measurement depends on.
func BuildInfo() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pheme %s %s\n", Version, Revision())
	fmt.Fprintf(&b, "%s %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, m := range Modules() {
		fmt.Fprintf(&b, "\n%s %s", m.Path, m.Version)
	}
	return b.String()
}

// Revision is the git commit the binary was built from, with "+dirty" where the tree was changed,
// or "unknown" where the build recorded none.
func Revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, dirty := "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	return revision + dirty
}

// Modules lists the modules of the running binary that shape what a measurement shows.
func Modules() []debug.Module {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	shaping := map[string]bool{
		"github.com/libp2p/go-libp2p":        true,
		"github.com/libp2p/go-libp2p-pubsub": true,
		"github.com/quic-go/quic-go":         true,
		"github.com/libp2p/go-yamux/v5":      true,
		"github.com/syndtr/goleveldb":        true,
		"github.com/ethereum/go-ethereum":    true,
	}
	var out []debug.Module
	for _, m := range info.Deps {
		if shaping[m.Path] {
			out = append(out, debug.Module{Path: m.Path, Version: m.Version})
		}
	}
	return out
}
