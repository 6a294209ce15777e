// Package stats turns samples into figures: percentiles in which an undelivered message is
// infinity, coverage times, and intervals from a bootstrap whose unit is the message.
//
// Deliveries of one message share its origin, its path and the moment's load, so they are not
// independent; drawing single deliveries would give intervals several times too narrow. A
// [Resampler] therefore draws whole messages (and whole seeds where there are enough) and a
// statistic is a function of how often each message was drawn. A test holds that intervals of the
// sizes that runs have contain the truth about 95 times in 100; with five seeds they are on the safe side.
package stats
