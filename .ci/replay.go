//go:build ignore

// Command replay builds pheme so that a run in virtual time repeats bit for bit, with the toolchain
// in use (see devnet/replay). Run it in the root of the repository; the first build takes about 90 s
// of CPU, because the runtime under everything is another one:
//
//	go run .ci/replay.go FILE
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/pheme-net/pheme/devnet/replay"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run .ci/replay.go FILE")
		os.Exit(2)
	}
	if err := build(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func build(file string) error {
	out, err := exec.Command("go", "env", "GOVERSION", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("ask the go command for its version: %w", err)
	}
	version, goroot, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	dir, err := os.MkdirTemp("", "pheme-replay-")
	if err != nil {
		return fmt.Errorf("make folder of the overlay: %w", err)
	}
	defer os.RemoveAll(dir)
	overlay, err := replay.Write(version, goroot, ".", dir)
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-overlay", overlay, "-o", file, "./cmd/pheme")
	cmd.Env = append(os.Environ(), replay.Experiment)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	return nil
}
