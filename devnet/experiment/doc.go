// Package experiment owns the description of a measurement: the TOML file, its defaults, its
// validation and the digest that names a run. It is pure; files are read by the caller.
//
// A [Spec] after [Spec.Resolve] has every default written in, so that the copy in a run's folder
// repeats the run without knowing which version filled it.
package experiment
