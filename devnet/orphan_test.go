package devnet_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/pheme-net/pheme/devnet"
	"github.com/pheme-net/pheme/devnet/experiment"
)

// orphanCommand makes the test binary measure one seed in virtual time whose child is a given program.
const orphanCommand = "orphan"

// script writes a program.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "child")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestVirtualChildDiesWithItsParent: a child that does not heed SIGTERM is gone when its parent was killed.
func TestVirtualChildDiesWithItsParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no system but Linux tells a child that its parent was killed")
	}
	path := script(t, `trap '' TERM
exec 3> "$0.fifo"
echo $$ >&3
sleep 10 3>&-
echo survived >&3
`)
	if err := syscall.Mkfifo(path+".fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	parent := exec.CommandContext(t.Context(), os.Args[0], orphanCommand, path)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	fifo, err := os.Open(path + ".fifo") // when the child has opened it
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	words := bufio.NewReader(fifo)
	var pid int
	if _, err := fmt.Fscan(words, &pid); err != nil || pid == 0 {
		t.Fatalf("the child's pid: %v", err)
	}
	defer syscall.Kill(-pid, syscall.SIGKILL) // what it started
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	left, err := io.ReadAll(words) // until the child has ended
	if err != nil || strings.TrimSpace(string(left)) != "" {
		t.Errorf("after the parent's death the child said %q, %v", left, err)
	}
}

// TestVirtualChildKilled: a person is told what to do about a child that the system has killed.
func TestVirtualChildKilled(t *testing.T) {
	s := experiment.Spec{Engine: "virtual", Seeds: []int64{1}, Net: experiment.Net{Nodes: 2}}
	s.Resolve()
	_, err := devnet.Measure(t.Context(), devnet.MeasureConfig{Experiment: s, Binary: script(t, "kill -9 $$\n"), Out: t.TempDir()}, nil)
	if want := fmt.Sprintf("a seed takes about %.1f GiB: use fewer nodes or smaller blocks", float64(s.Memory())/(1<<30)); err == nil || !strings.Contains(err.Error(), "signal: killed") || !strings.Contains(err.Error(), want) {
		t.Errorf("Measure() = %v, want %q", err, want)
	}
}
