package cluster

import "syscall"

// OwnGroup keeps a terminal's Ctrl-C from the children, which their parent stops in order;
// nothing tells them here that it was killed.
func OwnGroup(syscall.Signal) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// maxRSS is the most memory the process held, in bytes, as macOS counts.
func maxRSS(r *syscall.Rusage) int64 { return r.Maxrss }
