// Package live shapes the live TCP and QUIC connections of one node, in user
// space and without root, with the model of package link.
//
//	                   this node                                      peer (shaped alike)
//	TCP    Write --> uplink network --> kernel ==================> kernel --> downlink network --> Read
//	QUIC   WriteTo   own rate, fair     small socket buffers                  delay, jitter, loss,
//	                                                                          window, cut, own rate
//
// A Shaper is two virtual networks in real time. What the node sends passes its
// own uplink before the kernel sees it; Write blocks at that rate. What it
// receives passes the delay of the path and its own downlink after the kernel:
// the receiver adds the delay, once. All processes of a network are given the
// same link.Config and the same start of the schedule.
//
// TCP is a byte stream here: loss, retransmission and window are the model's, as
// delay. QUIC is shaped packet by packet: packets are lost and late, and QUIC's
// own congestion control answers, whatever link.Config says of LossCC and Window.
//
// Each end of a TCP connection first sends eight bytes that name its node, and
// each QUIC packet is preceded by four, because the kernel's address of a peer
// does not. A peer that does not is refused (TCP) or not heard (QUIC). These
// bytes are not counted. Dialling TCP takes one modelled round trip.
//
// # Use
//
//	tcp.NewTCPTransport(shaper.Upgrader(upgrader), ...)
//	quicreuse.NewConnManager(..., quicreuse.OverrideListenUDP(shaper.ListenUDP))
//
// and Run beside the host: connections wait for it.
//
// # Goroutines
//
// Run owns them all: one for each of the two networks, two for each TCP
// connection, one for each UDP socket. It ends when its context does and breaks
// the connections that are left.
//
// # Limits
//
// The uplink hands a turn to the kernel when its last byte has left, and the
// downlink does alike: late by two turns of 0.8 ms, more where Config.Turn says
// so. Timers of the system add 0.1 ms and more a hop, so that below a delay of
// about 1 ms, or above a few hundred Mbit/s, the system is measured and not the
// model; BenchmarkTCP shows the ratio. All figures hold only while the machine is
// not saturated.
// What waits in the kernel's buffers when a path is cut is sent when it heals.
package live
