package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadme runs the commands in the README's sh blocks, word for word, each in a folder of its own.
func TestReadme(t *testing.T) {
	commands := shellBlocks(t, "../../README.md")
	if len(commands) < 3 {
		t.Fatalf("the README has the commands %q, want the two first ones and what to try next", commands)
	}
	for _, command := range commands {
		t.Run(command, func(t *testing.T) {
			args, ours := strings.CutPrefix(command, "go run ./cmd/pheme ")
			switch {
			case command == "go test ./...":
				// This test is a part of that command; .ci/run is where it runs as it stands.
				if ci := readFile(t, "../../.ci/run"); !strings.Contains(ci, "\nstep_test() { "+command+"; }\n") {
					t.Errorf(".ci/run does not run the README's %q", command)
				}
			case !ours:
				t.Errorf("the test cannot run %q: write it as go run ./cmd/pheme ..., or take it out of the sh block", command)
			case testing.Short():
				t.Skip("starts a network of processes")
			default:
				readmeCommand(t, strings.Fields(args))
			}
		})
	}
}

// readmeCommand runs pheme, which testscript.Main has put on the path, to its end; a devnet that stays up is interrupted, as a reader
// would, once it has printed the first URL.
func readmeCommand(t *testing.T, args []string) {
	cmd := exec.CommandContext(t.Context(), "pheme", args...)
	cmd.Dir = t.TempDir()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stays := len(args) > 1 && args[0] == "devnet" && args[1] == "up"
	printed, interrupted := "", false
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		printed += lines.Text() + "\n"
		if stays && !interrupted && strings.Contains(lines.Text(), "http://127.0.0.1:") {
			interrupted = true
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil || printed == "" {
		t.Fatalf("pheme %s: %v\n%s%s", strings.Join(args, " "), err, printed, stderr.String())
	}
	if strings.HasPrefix(strings.Join(args, " "), "devnet measure") && args[len(args)-1] != "--help" {
		readFile(t, filepath.Join(cmd.Dir, "runs/latest/report.html"))
	}
}

// shellBlocks returns the lines of the sh blocks of a Markdown file.
func shellBlocks(t *testing.T, path string) (commands []string) {
	inside := false
	for line := range strings.Lines(readFile(t, path)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```sh"
		case inside && line != "":
			commands = append(commands, line)
		}
	}
	return commands
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
