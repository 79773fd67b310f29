//! Endorsements from the vendors' own services: fetched, checked in form, kept on disk.
//!
//! A [`Fetcher`] asks AMD's KDS, Intel's PCS and NVIDIA's OCSP and RIM services for [`Item`]s,
//! politely, and keeps what they say in a [`Store`] until it ends. [`Needs`] are what judging some
//! evidence takes.
//!
//! Everything that comes is checked to be of the form and of the subject that was asked for, so that
//! nothing else is ever kept. Whether it is authentic is the verifier's business, each time that it is
//! used: nothing here is trusted, neither a service nor the disk. What this crate can spoil is
//! availability.
//!
//! * A document that has ended is never given out, and one that would take the place of a newer one of
//!   the same item is refused; [`Marks`] remember Intel's evaluation numbers for longer than the cache.
//! * Time, randomness and waiting are arguments ([`World`]).
#![forbid(unsafe_code)]

mod amd;
mod backoff;
mod config;
mod der;
mod document;
mod error;
mod fetch;
mod holds;
mod http;
mod intel;
mod item;
mod marks;
mod needs;
mod nvidia;
mod ocsp;
mod store;
mod tls;
mod world;
mod x509;

pub use config::{Config, ConfigError, Vendor};
pub use document::{Document, Kind, Part, Window};
pub use error::{Unavailable, Why};
pub use fetch::{Fetcher, Fetching, Mode, Obtained, Origin, Step, pool};
pub use intel::{PckCa, Update};
pub use item::{AmdKey, Item};
pub use marks::{Marks, MarksUnusable};
pub use needs::Needs;
pub use store::{Disk, Entry, Health, OsDisk, Store};
pub use world::World;
