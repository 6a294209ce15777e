package devnet

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pheme-net/pheme/devnet/report"
)

// programSum is the SHA-256 of a program's file, in hex; "" is this program. It is "" where the file
// cannot be read, and then nothing is known to be of the same program.
func programSum(binary string) string {
	if binary == "" {
		self, err := os.Executable()
		if err != nil {
			return ""
		}
		binary = self
	}
	f, err := os.Open(binary)
	if err != nil {
		return ""
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return ""
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// otherProgram says in which way figures were made by another program than this one; "" is by the
// same. A commit names a program by itself. "unknown", which is what go run leaves, and a changed tree
// do not: there the program's file decides.
func otherProgram(made, here report.Environment) string {
	switch {
	case made.Version != here.Version:
		return fmt.Sprintf("they were made by version %s, this is %s", made.Version, here.Version)
	case made.Revision != here.Revision:
		return fmt.Sprintf("they were made by revision %s, this is %s", made.Revision, here.Revision)
	case here.Revision != "" && here.Revision != "unknown" && !strings.HasSuffix(here.Revision, "+dirty"):
		return ""
	case here.Program == "":
		return "this program's file cannot be read, so nobody knows whether it is the one that made them"
	case made.Program != here.Program:
		return "the program has changed since"
	}
	return ""
}

// foreign says why the figures of a run do not belong beside those made here: another program made them
// or, in real time, another machine. "" is neither.
func foreign(r *report.Results, here report.Environment) string {
	if why := otherProgram(r.Environment, here); why != "" {
		return why
	}
	if made := r.Environment; !r.Experiment.Virtual() && (made.CPU != here.CPU || made.Cores != here.Cores) {
		return fmt.Sprintf("they were made on %s, %d cores, this is %s, %d cores", made.CPU, made.Cores, here.CPU, here.Cores)
	}
	return ""
}
