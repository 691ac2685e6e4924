//! What every server has: where it listens and what it logs.

use std::net::{IpAddr, Ipv4Addr};

use super::reader::Reader;
use crate::telemetry::{LogFormat, RequestLog};
use crate::{server, telemetry};

/// A server's own settings.
#[derive(Debug, Clone)]
pub struct ProcessConfig {
    /// Where it listens, and its limits.
    pub server: server::Config,
    /// What it logs.
    pub telemetry: telemetry::Config,
}

impl ProcessConfig {
    pub(super) fn read(reader: &mut Reader<'_>, trust_emulator: bool) -> Self {
        let request_log = reader.parsed::<RequestLog>("LOG_REQUESTS").unwrap_or_default();
        let port = reader.expected("PORT", "a port number from 0 to 65535", |_: &u16| true);
        let host = reader.expected("HOST", "an IP address, for example 0.0.0.0", |_: &IpAddr| true);
        let default_host = if trust_emulator { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        let server = server::Config {
            host: host.unwrap_or(IpAddr::V4(default_host)),
            port: port.unwrap_or(8080),
            request_log,
            ..server::Config::default()
        };

        let on_cloud_run = reader.is_set("K_SERVICE");
        let default_format = if on_cloud_run { LogFormat::Json } else { LogFormat::Text };
        let telemetry = telemetry::Config {
            format: reader.parsed("LOG_FORMAT").unwrap_or(default_format),
            filter: filter(reader),
            project_id: reader.text("GOOGLE_CLOUD_PROJECT").map(Into::into).unwrap_or_default(),
            service: reader.text("K_SERVICE").map(str::to_owned),
            revision: reader.text("K_REVISION").map(str::to_owned),
            request_log,
            ..telemetry::Config::default()
        };
        Self { server, telemetry }
    }
}

fn filter(reader: &mut Reader<'_>) -> String {
    let filter = reader.text("RUST_LOG").unwrap_or("info").to_owned();
    let config = telemetry::Config { filter: filter.clone(), ..telemetry::Config::default() };
    if let Err(error) = config.check() {
        reader.mistake("RUST_LOG", error);
    }
    filter
}
