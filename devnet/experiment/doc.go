// Package experiment owns the description of a measurement: the TOML file, its defaults, its
// validation and the digest that names a run. It is pure; files are read by the caller.
//
// A [Sweep] is a grid of experiments in one file: each cell is decoded and validated as strictly as
// a file of its own, and a [Law] is the line that a figure must follow over the cells.
//
// A [Spec] after [Spec.Resolve] has every default written in, so that the copy in a run's folder
// repeats the run without knowing which version filled it.
package experiment
