//! The caller's half.

pub mod cache;
pub mod metadata;
pub mod source;

pub use cache::IdTokenCache;
pub use metadata::{MetadataServer, MetadataServerBuilder, MetadataServerError};
pub use source::{FetchFuture, IdTokenSource, SourceError, SourceFault};
