//! The metadata server's access tokens, for impersonation.

use std::sync::Arc;
use std::time::Duration;

use super::MetadataServer;
use crate::outbound::access_token::{AccessFuture, AccessToken, AccessTokenSource, SCOPE};
use crate::outbound::source::IdTokenSource;

impl AccessTokenSource for MetadataServer {
    fn fetch(&self) -> AccessFuture<'_> {
        let mut url = self.url("instance/service-accounts/default/token");
        url.query_pairs_mut().append_pair("scopes", SCOPE);
        Box::pin(self.ask(url, AccessToken::from_oauth))
    }

    fn budget(&self) -> Duration {
        IdTokenSource::budget(self)
    }

    fn name(&self) -> Arc<str> {
        IdTokenSource::name(self)
    }
}
