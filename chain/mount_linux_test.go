package chain

import "syscall"

// mountSmall puts a file system of 16 MB on dir, which takes root.
func mountSmall(dir string) error { return syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m") }
