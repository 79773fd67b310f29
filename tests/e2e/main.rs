//! The whole stack, story by story.
#![forbid(unsafe_code)]
