use std::error::Error as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

const CONNECT: Duration = Duration::from_secs(5);

/// A certificate that is its own authority, with its key.
fn self_signed(name: &str) -> (String, CertificateDer<'static>, PrivateKeyDer<'static>) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    (made.cert.pem(), made.cert.der().clone(), key)
}

fn answer(mut stream: impl std::io::Read + std::io::Write, response: &str) {
    let mut head = [0_u8; 4096];
    if matches!(stream.read(&mut head), Ok(1..)) {
        let _ = stream.write_all(response.as_bytes());
        let _ = stream.flush();
    }
}

/// A server that answers every connection once; it ends with the test process.
fn serve(handle: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            handle(stream);
        }
    });
    address
}

fn serve_tls(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    serve(move |tcp| {
        let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        answer(StreamOwned::new(tls, tcp), "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
    })
}

/// An error with all its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line = format!("{line}: {error}");
        source = error.source();
    }
    line
}

/// Whose client to build: one on loopback, for which no proxy counts.
fn any_https() -> Url {
    "https://localhost/".parse().unwrap()
}

#[tokio::test]
async fn https_refuses_a_server_that_signed_its_own_certificate() {
    let (_, certificate, key) = self_signed("localhost");
    let address = serve_tls(certificate, key);
    let client = for_url(&any_https(), CONNECT, &Roots::bundled()).unwrap();
    let url = format!("https://localhost:{}/", address.port());
    let error = client.get(url).send().await.unwrap_err();
    assert!(chain(&error).contains("UnknownIssuer"), "{}", chain(&error));
}

#[tokio::test]
async fn https_accepts_an_authority_of_the_pem_bundle_for_its_own_name_only() {
    let (pem, certificate, key) = self_signed("localhost");
    let address = serve_tls(certificate, key);
    let roots = Roots::bundled().with_pem(pem.as_bytes()).unwrap();
    let client = for_url(&any_https(), CONNECT, &roots).unwrap();

    let url = format!("https://localhost:{}/", address.port());
    assert_eq!(client.get(url).send().await.unwrap().status(), 204);

    let error = client.get(format!("https://{address}/")).send().await.unwrap_err();
    assert!(chain(&error).contains("not valid for name"), "{}", chain(&error));
}

#[tokio::test]
async fn https_does_not_speak_http() {
    let address = serve(|tcp| answer(tcp, "HTTP/1.1 204 No Content\r\n\r\n"));
    let client = for_url(&any_https(), CONNECT, &Roots::bundled()).unwrap();
    assert!(client.get(format!("http://{address}/")).send().await.unwrap_err().is_builder());
}

#[tokio::test]
async fn plain_trusts_no_certificate() {
    let (_, certificate, key) = self_signed("localhost");
    let address = serve_tls(certificate, key);
    let client = plain(CONNECT).unwrap();
    let url = format!("https://localhost:{}/", address.port());
    let error = client.get(url).send().await.unwrap_err();
    assert!(chain(&error).contains("UnknownIssuer"), "{}", chain(&error));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let address = serve(|tcp| {
        let response = "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\
                        content-length: 0\r\nconnection: close\r\n\r\n";
        answer(tcp, response);
    });
    let client = plain(CONNECT).unwrap();
    assert_eq!(client.get(format!("http://{address}/")).send().await.unwrap().status(), 302);
}

#[tokio::test]
async fn the_user_agent_names_the_crate() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let address = serve(move |mut tcp| {
        let mut head = [0_u8; 4096];
        let length = tcp.read(&mut head).unwrap();
        sender.send(String::from_utf8_lossy(&head[..length]).into_owned()).unwrap();
        let _ = tcp.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
    });
    plain(CONNECT).unwrap().get(format!("http://{address}/")).send().await.unwrap();
    let head = receiver.recv().unwrap();
    assert!(head.contains(&format!("user-agent: {USER_AGENT}\r\n")), "{head}");
}

#[test]
fn a_bundle_that_cannot_be_used_is_refused_with_a_reason() {
    let roots = Roots::bundled();
    assert!(matches!(roots.with_pem(b""), Err(RootsError::NoneUsable { found: 0 })));

    let cut = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
    let error = roots.with_pem(cut).unwrap_err();
    assert!(matches!(error, RootsError::NotPem(_)) && error.source().is_some(), "{error:?}");

    let junk = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(roots.with_pem(junk), Err(RootsError::NoneUsable { found: 1 })));

    let huge = vec![b'\n'; MAX_PEM_BYTES + 1];
    assert!(matches!(roots.with_pem(&huge), Err(RootsError::TooLarge { .. })));
}

#[test]
fn a_bundle_adds_to_the_roots_and_debug_says_how_many() {
    let (pem, ..) = self_signed("ca.example");
    let bundled = Roots::bundled();
    let more = bundled.with_pem(pem.as_bytes()).unwrap();
    assert_eq!(more.0.len(), bundled.0.len() + 1);
    assert_eq!(format!("{more:?}"), format!("Roots {{ authorities: {} }}", more.0.len()));
}
