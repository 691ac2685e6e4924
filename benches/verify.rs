//! What a verification costs in process: a token seen before, a token never seen, and the bare RSA operation beside
//! them in the same run.

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::identity::CompactJws;
use countersign::inbound::jwks::KeySet;
use countersign::inbound::{Authenticator, Policy, Verifier};
use criterion::{Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::json;

const AUDIENCE: &str = "https://called-123456789.europe-west1.run.app";

struct Google {
    pair: KeyPair,
}

impl Google {
    fn keys(&self) -> KeySet {
        let der = self.pair.public_key().as_ref();
        let end = der.len() - 5;
        let n = URL_SAFE_NO_PAD.encode(&der[end - self.pair.public_modulus_len()..end]);
        let key =
            json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KID, "n": n, "e": "AQAB"});
        KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes()).expect("a key set")
    }

    /// A token of the metadata server's shape, about 820 bytes.
    fn token(&self) -> String {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
        let claims = json!({
            "aud": AUDIENCE, "azp": "112233445566778899001", "email": "caller@demo.iam.gserviceaccount.com",
            "email_verified": true, "exp": now + 3_600, "iat": now, "iss": "https://accounts.google.com",
            "sub": "112233445566778899001",
        });
        let part = |text: String| URL_SAFE_NO_PAD.encode(text);
        let header = json!({"alg": "RS256", "kid": KID, "typ": "JWT"});
        let input = format!("{}.{}", part(header.to_string()), part(claims.to_string()));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = SystemRandom::new();
        self.pair
            .sign(&RSA_PKCS1_SHA256, &random, input.as_bytes(), &mut signature)
            .expect("signed");
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

const KID: &str = "f9d97b4cae90bcd76aeb20026f6b770cac221783";

/// With the keys at hand nothing is waited for, so that one poll is all.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the keys are at hand"),
    }
}

fn verify(criterion: &mut Criterion) {
    let google = Google { pair: KeyPair::generate(KeySize::Rsa2048).expect("a key") };
    let audience = || AUDIENCE.parse().expect("an audience");
    let mut group = criterion.benchmark_group("verify");
    group.measurement_time(Duration::from_secs(5));

    let token = google.token();
    let keys = google.keys();
    let jws = CompactJws::parse(&token).expect("a token");
    let (input, signature) = (jws.signing_input(), jws.signature().expect("base64url"));
    let key = keys.key(KID).expect("the key");
    group.bench_function("the RSA operation alone", |bencher| {
        bencher.iter(|| assert!(key.verifies(black_box(input), black_box(&signature))));
    });

    let verifier = Verifier::builder().audience(audience()).fixed_keys(google.keys());
    let cold = verifier.verified_token_bytes(0).build().expect("a verifier");
    group.bench_function("cold: every check, nothing remembered", |bencher| {
        bencher.iter(|| at_once(cold.verify(black_box(&token))).expect("good"));
    });

    let verifier = Verifier::builder().audience(audience()).fixed_keys(google.keys());
    let policy = Policy::new(["serviceAccount:caller@demo.iam.gserviceaccount.com"
        .parse()
        .expect("a member")]);
    let policy = policy.expect("a policy");
    let hot = Authenticator::new(verifier.build().expect("a verifier"), policy).expect("they fit");
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().expect("a header"));
    group.bench_function("hot: header, remembered token, policy", |bencher| {
        bencher.iter(|| at_once(hot.authenticate(black_box(&headers))).expect("allowed"));
    });
    group.finish();
}

criterion_group!(benches, verify);
criterion_main!(benches);
