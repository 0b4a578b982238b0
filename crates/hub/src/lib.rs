//! The Hugging Face hub: models and data sets by name, fetched once into the cache that other tools share, and finished
//! models pushed to it.
//!
//! [`HubId`] is a name with a revision; [`Hub`] turns it into a path ([`Hub::fetch`]) or into itself at a commit
//! ([`Hub::pinned`]), so that a run can be repeated; [`Hub::push`] uploads a folder.

mod error;
mod hub;
mod id;
mod push;

pub use error::HubError;
pub use hub::Hub;
pub use id::{HubId, Kind};
pub use push::Pushed;
