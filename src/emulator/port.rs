//! A port of the emulator: counts, faults, then a router.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use tower_service::Service as _;

use super::faults::Endpoint;
use super::google::Google;
use super::listener::{Answer, HangUp};

pub(super) struct Port {
    google: Arc<Google>,
    router: Router,
}

impl Port {
    pub(super) fn new(google: Arc<Google>, router: Router) -> Self {
        Self { google, router }
    }
}

impl Answer for Port {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        _: SocketAddr,
    ) -> Result<Response<Body>, HangUp> {
        let fault = self.google.traffic.enter(Endpoint::of(request.uri().path()));
        let mut router = self.router.clone();
        let right = async move {
            // A router is always ready and never fails.
            match router.call(request).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            }
        };
        match fault {
            None => Ok(right.await),
            Some(fault) => fault.spoil(right).await,
        }
    }
}
