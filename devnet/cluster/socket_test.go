package cluster

import (
	"net"
	"os"
)

// listenUnix stands for a node's socket.
func listenUnix(path string) (net.Listener, error) {
	os.Remove(path) // a killed child leaves it
	return net.Listen("unix", path)
}
