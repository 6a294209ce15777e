package cluster

import "syscall"

// OwnGroup keeps a terminal's Ctrl-C from the children, which their parent stops in order, and
// sends them a signal when the parent is killed.
func OwnGroup(orphaned syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: orphaned}
}

// maxRSS is the most memory the process held, in bytes; Linux counts KiB.
func maxRSS(r *syscall.Rusage) int64 { return r.Maxrss << 10 }
