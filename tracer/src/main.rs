//! `portleak`: parse, choose the source, run, exit code.

fn main() {}
