//! What to do about the metadata server's faults.

use http::StatusCode;

use crate::outbound::source::SourceFault;

/// What the operator can do about it.
pub(super) fn advice(fault: &SourceFault) -> &'static str {
    match fault {
        SourceFault::Unreachable(_) | SourceFault::TimedOut { .. } => {
            "outside of Google Cloud there is no metadata server: start the emulator and set GCE_METADATA_HOST to \
             where it listens"
        }
        SourceFault::AnotherServer { .. } => {
            "something else answers there, such as a proxy or a captive portal: check GCE_METADATA_HOST"
        }
        SourceFault::Status { status, .. } => match *status {
            StatusCode::BAD_REQUEST => "check the audience that was asked for",
            StatusCode::FORBIDDEN => {
                "the metadata server refuses requests that a proxy has touched (X-Forwarded-For): let nothing stand \
                 in between"
            }
            StatusCode::NOT_FOUND => {
                "no service account is attached to this service: deploy it with --service-account=EMAIL"
            }
            _ => "",
        },
        SourceFault::Expired { .. } => "check this machine's clock",
        _ => "",
    }
}
