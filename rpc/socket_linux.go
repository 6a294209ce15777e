package rpc

// maxSocketPath is the longest path of a unix socket: sun_path less its final zero.
const maxSocketPath = 107
