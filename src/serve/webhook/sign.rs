//! The signature of an event: HMAC-SHA256, in hex, over the JSON text of its body. Pure.
//!
//! The vendor's guide computes it over `JSON.stringify(body)`, and as a rule sends exactly that text. If something on the
//! way has changed the layout, the signature is checked against the compact form too, which is the same content.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// True if `signature` proves the body. The time of the check reveals nothing of the secret.
pub fn is_signed(body: &str, signature: &str, secret: &str) -> bool {
    let Ok(signature) = hex::decode(signature) else {
        return false;
    };
    matches(body, &signature, secret)
        || compact(body).is_some_and(|compact| compact != body && matches(&compact, &signature, secret))
}

fn matches(text: &str, signature: &[u8], secret: &str) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return false;
    };
    mac.update(text.as_bytes());
    mac.verify_slice(signature).is_ok()
}

/// The signature of a body.
#[cfg(test)]
pub(super) fn sign(body: &str, secret: &str) -> String {
    Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map(|mac| hex::encode(mac.chain_update(body).finalize().into_bytes()))
        .unwrap_or_default()
}

/// JSON as `JSON.stringify` writes it: without white space, with strings in their shortest form; keys keep their order and
/// numbers their form. `None` if a string is invalid.
fn compact(json: &str) -> Option<String> {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(next) = rest.chars().next() {
        if next != '"' {
            if !next.is_ascii_whitespace() {
                out.push(next);
            }
            rest = &rest[next.len_utf8()..];
            continue;
        }
        let end = end_of_string(rest)?;
        let text: String = serde_json::from_str(&rest[..end]).ok()?;
        out.push_str(&serde_json::to_string(&text).ok()?);
        rest = &rest[end..];
    }
    Some(out)
}

/// The end of the string literal that `text` begins with.
fn end_of_string(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"eventName":"call_finished","roomId":"649c18e086b915cae33041a2","spaceId":"64217150224cd9e040e114d1"}"#;
    const SECRET: &str = "g7r0gOSKiQ59prCGXo1H50PACb5ca1mD";
    /// Computed by `crypto.createHmac('sha256', SECRET).update(BODY, 'utf8').digest('hex')`, as the guide has it.
    const SIGNATURE: &str = "ff6c9994e1d3f1e8843aed9d1c916d913e8e5ea321b978978754e69baba22f30";

    #[test]
    fn the_guides_signature_is_accepted() {
        assert_eq!(sign(BODY, SECRET), SIGNATURE);
        assert!(is_signed(BODY, SIGNATURE, SECRET));
        assert!(is_signed(BODY, &SIGNATURE.to_uppercase(), SECRET));
    }

    #[test]
    fn any_other_signature_is_refused() {
        let mut other = SIGNATURE.to_owned();
        other.replace_range(0..1, "0");
        for (body, signature, secret) in [
            (BODY, other.as_str(), SECRET),
            (BODY, &SIGNATURE[..62], SECRET),
            (BODY, "", SECRET),
            (BODY, "not hex", SECRET),
            (BODY, SIGNATURE, "another"),
            (BODY, SIGNATURE, ""),
            (&BODY.replace("649c", "649d"), SIGNATURE, SECRET),
        ] {
            assert!(!is_signed(body, signature, secret));
        }
    }

    #[test]
    fn another_layout_is_accepted_and_another_order_is_refused() {
        let laid_out = BODY
            .replace(':', " : ")
            .replace(',', ",\n\t")
            .replace("call", "\\u0063all");
        assert!(is_signed(&laid_out, SIGNATURE, SECRET));
        let swapped = r#"{"roomId":"649c18e086b915cae33041a2","eventName":"call_finished","spaceId":"64217150224cd9e040e114d1"}"#;
        assert!(!is_signed(swapped, SIGNATURE, SECRET));
    }

    #[test]
    fn compact_equals_json_stringify() {
        let json =
            "{ \"a\\/b\" : [ 1.50 , \"\\u043f\\u0440 \\\"x\\\" \\\\\" , true ] ,\r\n \"c\":\"\\u001F \\n\" }";
        assert_eq!(
            compact(json).expect("JSON"),
            "{\"a/b\":[1.50,\"пр \\\"x\\\" \\\\\",true],\"c\":\"\\u001f \\n\"}"
        );
        assert_eq!(compact("\"open"), None);
    }

    proptest::proptest! {
        #[test]
        fn compact_never_panics_and_changes_no_content(value in "\\PC{0,40}", noise in ".{0,60}") {
            let _ = compact(&noise);
            let json = serde_json::to_string(&[&value]).expect("JSON");
            proptest::prop_assert_eq!(compact(&json), Some(json));
        }
    }
}
