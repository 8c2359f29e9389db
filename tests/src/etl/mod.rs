//! Windows traces as the tests write them: a scripted machine, encoded as Windows encodes it.

pub mod encode;
pub mod machine;
pub mod pack;
pub mod story;
pub mod writer;
