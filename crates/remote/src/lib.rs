//! JSON questions to what is outside of the process: a program of the user's ([`Program`]), or a server ([`Server`]).
//!
//! Both answer one JSON object with one JSON object, in bounded time, whatever happens on the other side: a program
//! that crashes is started again, one that hangs is killed; a server that is busy is asked again after a pause that
//! doubles. [`Chat`] asks a server with OpenAI's protocol and keeps its replies on disk. All are safe to call from many threads, which is how several questions are asked at once.
//!
//! The crate knows nothing of rewards or judges; crates `reward` and `reject` say what is asked.

mod chat;
mod error;
mod output;
mod process;
mod program;
mod server;

pub use chat::{Chat, ChatSpec, ChatUsage, data_url};
pub use error::CallError;
pub use program::{Program, ProgramSpec};
pub use server::{Server, ServerSpec};
