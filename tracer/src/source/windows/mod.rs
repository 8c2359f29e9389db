//! Windows: what its tracing tells, live or from a file, as the same events that every source says.
//!
//! Everything here is portable: payloads are decoded from their bytes, nothing asks Windows.

mod bytes;
mod classic;
pub mod etl;
pub mod fact;
pub mod guid;
pub mod layout;
pub mod model;
pub mod record;
