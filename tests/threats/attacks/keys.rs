//! Attacks 1 to 12: on algorithms, keys and signatures.

use countersign::emulator::{BadToken, Endpoint};
use countersign::inbound::jwks::{KeyFault, KeySet};
use serde_json::json;

use crate::support::signer::{Signer, claims, encode, hmac_token, pem, token};

use super::{bad, fetching, fixed, header_with, signed_under};

#[tokio::test]
async fn attack_01_alg_none_in_every_mix_of_case_with_and_without_the_last_dot() {
    let service = fixed().await;
    for mix in 0..16_u8 {
        let letters = "none".chars().enumerate();
        let name: String = letters
            .map(|(at, c)| if mix & (1 << at) == 0 { c } else { c.to_ascii_uppercase() })
            .collect();
        let unsigned = token(&header_with("alg", name.as_str()), &claims(), "");
        service.refuses(&unsigned, "wrong_algorithm").await;
        service.refuses(unsigned.trim_end_matches('.'), "malformed_token").await;
        // With a good signature under it, too: `alg` chooses nothing.
        service.refuses(&signed_under(&header_with("alg", name)), "wrong_algorithm").await;
    }
}

#[tokio::test]
async fn attack_02_a_signature_left_out_under_an_unchanged_header() {
    let service = fixed().await;
    let good = Signer::trusted().sign(&claims());
    let (input, _) = good.rsplit_once('.').unwrap();
    service.refuses(&format!("{input}."), "wrong_signature").await;
    service.refuses(input, "malformed_token").await;
    service.refuses(&format!("{input}.AA"), "wrong_signature").await;
    service.refuses(&format!("{input}.{}", encode([0; 256])), "wrong_signature").await;
}

#[tokio::test]
async fn attack_03_hmac_with_the_published_key_in_every_spelling() {
    let service = fixed().await;
    let signer = Signer::trusted();
    let spki = pem("PUBLIC KEY", &signer.public_der());
    let pkcs1 = pem("RSA PUBLIC KEY", &signer.public_pkcs1_der());
    let certificate = rcgen_certificate();
    let secrets: Vec<Vec<u8>> = vec![
        spki.clone().into(),
        spki.trim_end().into(),
        format!("\u{feff}{spki}").into(),
        format!(" {spki}").into(),
        format!("\n{spki}").into(),
        spki.replace('\n', "\r\n").into(),
        pkcs1.clone().into(),
        pkcs1.trim_end().into(),
        signer.public_der(),
        signer.public_pkcs1_der(),
        certificate,
        signer.jwk().to_string().into(),
        signer.key_set().to_string().into(),
        signer.modulus(),
        encode(signer.modulus()).into(),
        signer.kid.clone().into(),
    ];
    for secret in &secrets {
        for algorithm in ["HS256", "HS384", "HS512"] {
            let token = hmac_token(algorithm, &signer.kid, secret);
            service.refuses(&token, "wrong_algorithm").await;
        }
        // The HMAC under the expected algorithm is no RSA signature either.
        let input = signer.sign(&claims());
        let (input, _) = input.rsplit_once('.').unwrap();
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let tag = aws_lc_rs::hmac::sign(&key, input.as_bytes());
        service.refuses(&format!("{input}.{}", encode(tag)), "wrong_signature").await;
    }
}

fn rcgen_certificate() -> Vec<u8> {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    parameters.self_signed(&key).unwrap().der().to_vec()
}

#[tokio::test]
async fn attack_04_hmac_with_an_empty_or_a_well_known_secret() {
    let service = fixed().await;
    for secret in ["", " ", "\0", "secret", "password", "changeme", "your-256-bit-secret", "key"] {
        for kid in ["", "trusted", "unknown"] {
            let token = hmac_token("HS256", kid, secret.as_bytes());
            service.refuses(&token, "wrong_algorithm").await;
        }
    }
}

#[tokio::test]
async fn attack_05_a_key_in_the_header() {
    let (emulator, service) = fetching().await;
    service.refuses(&bad(&emulator, BadToken::JwkInHeader), "unknown_key").await;
    service.refuses(&bad(&emulator, BadToken::X5cInHeader), "wrong_signature").await;
    let service = fixed().await;
    let forger = Signer::forger();
    for kid in ["trusted", "forger"] {
        let header = json!({"alg": "RS256", "kid": kid, "jwk": forger.jwk(), "typ": "JWT"});
        let token = forger.sign_text(&header.to_string(), &claims().to_string());
        let code = if kid == "trusted" { "wrong_signature" } else { "unknown_key" };
        service.refuses(&token, code).await;
    }
}

#[tokio::test]
async fn attack_06_a_link_to_a_key_in_the_header_is_never_followed() {
    let (emulator, service) = fetching().await;
    service.refuses(&bad(&emulator, BadToken::JkuInHeader), "unknown_key").await;
    service.refuses(&bad(&emulator, BadToken::X5uInHeader), "unknown_key").await;
    let host = emulator.host();
    let kid = emulator.current_kid();
    for member in ["jku", "x5u"] {
        for url in [
            format!("{}/canary/jwks", emulator.url()),
            format!("http://www.googleapis.com@{host}/canary/jwks"),
            format!("http://{host}/canary/jwks?x=https://www.googleapis.com/oauth2/v3/certs"),
            format!("http://{host}/canary/jwks#https://www.googleapis.com"),
            format!("//{host}/canary/jwks"),
            format!("{}/../canary/jwks", emulator.jwks_url()),
        ] {
            let header = json!({"alg": "RS256", "kid": kid, "typ": "JWT", member: url});
            let forged = Signer::forger().sign_text(&header.to_string(), &claims().to_string());
            service.refuses(&forged, "wrong_signature").await;
        }
    }
    assert_eq!(emulator.requests(Endpoint::Canary), 0);
    assert_eq!(emulator.requests(Endpoint::Other), 0);
}

#[tokio::test]
async fn attack_07_kid_is_compared_and_nothing_else() {
    let service = fixed().await;
    for kid in [
        "../../../../dev/null",
        "/dev/null",
        "file:///dev/null",
        "http://127.0.0.1/keys",
        "x' UNION SELECT 'secret' -- ",
        "$(touch /tmp/x)",
        "`id`",
        "|cat /etc/passwd",
        "trusted\u{0}",
        "trusted\n",
        " trusted",
        "trusted ",
        "Trusted",
        "truste",
        "trusted.",
        "tru\u{455}ted",
        "__proto__",
        "constructor",
        "toString",
        "hasOwnProperty",
        "0",
        "*",
        "%74rusted",
    ] {
        service.refuses(&signed_under(&header_with("kid", kid)), "unknown_key").await;
    }
    for kid in [json!(""), json!("k".repeat(257)), json!(["trusted"]), json!(null), json!(0)] {
        service.refuses(&signed_under(&header_with("kid", kid)), "malformed_key_id").await;
    }
    // An escape in JSON is another spelling of the same kid, for everybody who reads JSON.
    let header = r#"{"alg":"RS256","kid":"tr\u0075sted","typ":"JWT"}"#;
    service.accepts(&Signer::trusted().sign_text(header, &claims().to_string())).await;
}

#[tokio::test]
async fn attack_08_another_algorithm_of_the_same_family_or_key() {
    let (emulator, service) = fetching().await;
    for name in [BadToken::AlgRs512, BadToken::AlgPs256, BadToken::AlgEs256] {
        service.refuses(&bad(&emulator, name), "wrong_algorithm").await;
    }
    let service = fixed().await;
    for name in [
        json!("rs256"),
        json!("RS256 "),
        json!("RS256\u{0}"),
        json!("RS384"),
        json!("PS512"),
        json!("EdDSA"),
        json!("RSA-OAEP"),
        json!("SHA256withRSA"),
        json!(["RS256"]),
        json!(256),
        json!(null),
    ] {
        service.refuses(&signed_under(&header_with("alg", name)), "wrong_algorithm").await;
    }
}

#[tokio::test]
async fn attack_09_ecdsa_with_r_and_s_of_nothing() {
    let service = fixed().await;
    for algorithm in ["ES256", "ES256K", "ES384", "ES512"] {
        let zeros = token(&header_with("alg", algorithm), &claims(), [0; 64]);
        service.refuses(&zeros, "wrong_algorithm").await;
    }
    service
        .refuses(&token(&Signer::trusted().header(), &claims(), [0; 64]), "wrong_signature")
        .await;
}

#[tokio::test]
async fn attack_10_rsa_signatures_that_are_not_reduced_or_not_of_the_moduluss_length() {
    let service = fixed().await;
    let signer = Signer::trusted();
    let good = signer.sign(&claims());
    let (input, _) = good.rsplit_once('.').unwrap();
    let signature = signer.signature(input.as_bytes());
    let modulus = signer.modulus();

    let mut plus_n = Vec::new();
    let mut carry = 0;
    for (a, b) in signature.iter().rev().zip(modulus.iter().rev()) {
        let sum = u16::from(*a) + u16::from(*b) + carry;
        plus_n.push(u8::try_from(sum & 0xff).unwrap());
        carry = sum >> 8;
    }
    plus_n.push(u8::try_from(carry).unwrap());
    plus_n.reverse();

    let mut variants = vec![
        plus_n.clone(),
        plus_n[1..].to_vec(),
        [&[0], &signature[..]].concat(),
        [&signature[..], &[0]].concat(),
        signature[1..].to_vec(),
        signature[..255].to_vec(),
        vec![0; 256],
        [vec![0; 255], vec![1]].concat(),
        modulus.clone(),
        vec![0xff; 256],
    ];
    let mut one_less = modulus;
    *one_less.last_mut().unwrap() -= 1;
    variants.push(one_less);
    for variant in variants {
        service.refuses(&format!("{input}.{}", encode(variant)), "wrong_signature").await;
    }
    service.accepts(&good).await;
}

#[test]
fn attack_11_weak_keys_are_left_out_of_the_set() {
    let jwk = |n: Vec<u8>, e: &[u8]| json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "weak", "n": encode(n), "e": encode(e)});
    let odd = |bytes: usize| {
        let mut number = vec![0xff; bytes];
        number[0] = 0xc0;
        number
    };
    let strong = Signer::trusted().modulus();
    let e = &[1, 0, 1][..];
    let even = {
        let mut even = strong.clone();
        *even.last_mut().unwrap() -= 1;
        even
    };
    let table = [
        (jwk(strong.clone(), &[1]), KeyFault::Exponent),
        (jwk(strong.clone(), &[2]), KeyFault::Exponent),
        (jwk(strong.clone(), &[3]), KeyFault::Exponent),
        (jwk(strong.clone(), &[1, 0, 0]), KeyFault::Exponent),
        (jwk(strong.clone(), &[0xff; 5]), KeyFault::Exponent),
        (jwk(strong.clone(), &[]), KeyFault::Encoding),
        (jwk(strong.clone(), &[0, 1, 0, 1]), KeyFault::Encoding),
        (jwk(odd(64), e), KeyFault::Modulus),
        (jwk(odd(128), e), KeyFault::Modulus),
        (jwk(odd(255), e), KeyFault::Modulus),
        (jwk(odd(1_025), e), KeyFault::Modulus),
        (jwk(even, e), KeyFault::Modulus),
        (jwk([vec![0], strong.clone()].concat(), e), KeyFault::Encoding),
    ];
    for (weak, fault) in table {
        let keys = json!({"keys": [weak, Signer::trusted().jwk()]});
        let set = KeySet::parse(keys.to_string().as_bytes()).unwrap();
        assert_eq!(set.len(), 1, "{weak}");
        assert_eq!(set.skipped()[0].fault, fault, "{weak}");
        assert!(set.key("weak").is_none());
    }
}

#[tokio::test]
async fn attack_12_encryption_taken_for_a_signature() {
    let (emulator, service) = fetching().await;
    service.refuses(&bad(&emulator, BadToken::FivePartsJwe), "malformed_token").await;
    service.refuses(&bad(&emulator, BadToken::Cty), "unsupported_header").await;
    // An unsigned token within: the outer one is signed, the inner one is what would be believed.
    let inner = token(&json!({"alg": "none"}), &claims(), "");
    let service = fixed().await;
    let signer = Signer::trusted();
    for header in [header_with("cty", "JWT"), header_with("cty", "jwt")] {
        let nested = signer.sign_text(&header.to_string(), &inner);
        service.refuses(&nested, "unsupported_header").await;
    }
    service
        .refuses(&signer.sign_text(&signer.header().to_string(), &inner), "malformed_payload")
        .await;
    let header = json!({"alg": "dir", "enc": "A128CBC-HS256", "kid": "trusted"});
    service.refuses(&token(&header, &claims(), [0; 256]), "wrong_algorithm").await;
}
