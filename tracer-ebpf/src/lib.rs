//! What the probes say to user space.
#![no_std]
