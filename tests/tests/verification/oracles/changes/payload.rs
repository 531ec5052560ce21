//! Changes to the payload's text.

use super::*;

macro_rules! payload {
    ($text:expr) => {
        |draft| {
            draft.payload_text = $text;
            true
        }
    };
}

pub(super) const CHANGES: &[Row] = &[
    (
        "payload with white space",
        PAYLOAD_TEXT,
        GOOD,
        payload!(|text| { format!("\n\t {} \r\n", text.replace(',', " , ")).into_bytes() }),
    ),
    (
        "payload escapes a name",
        PAYLOAD_TEXT,
        GOOD,
        payload!(|text| { text.replace("\"iss\"", "\"\\u0069s\\u0073\"").into_bytes() }),
    ),
    (
        "payload member twice",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, r#""y":1,"y":1"#) }),
    ),
    (
        "payload member twice, escaped",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, r#""y":1,"\u0079":1"#) }),
    ),
    (
        "payload member twice, inside",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, r#""y":{"z":1,"z":1}"#) }),
    ),
    (
        "payload iss twice",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, r#""iss":"https://evil.example""#) }),
    ),
    (
        "payload holds NaN",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, r#""y":NaN"#) }),
    ),
    (
        "payload holds Infinity",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, r#""y":-Infinity"#) }),
    ),
    (
        "payload holds half a surrogate",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, r#""y":"\ud800""#) }),
    ),
    (
        "payload holds a huge number",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, &format!("\"y\":{}", "9".repeat(400))) }),
    ),
    (
        "payload holds a control character",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, "\"y\":\"\n\"") }),
    ),
    (
        "payload with a trailing comma",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { format!("{},}}", &text[..text.len() - 1]).into_bytes() }),
    ),
    (
        "payload with a comment",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, "/* */\"y\":1") }),
    ),
    (
        "payload with a tail",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { format!("{text}x").into_bytes() }),
    ),
    (
        "payload is cut",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { text.as_bytes()[..text.len() - 1].to_vec() }),
    ),
    (
        "payload is a list",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { format!("[{text}]").into_bytes() }),
    ),
    ("payload is null", PAYLOAD_TEXT, Some(Reason::Claims), payload!(|_| b"null".to_vec())),
    ("payload is empty", PAYLOAD_TEXT, Some(Reason::Claims), payload!(|_| Vec::new())),
    (
        "payload after a byte order mark",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { format!("\u{feff}{text}").into_bytes() }),
    ),
    (
        "payload in UTF-16",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { text.encode_utf16().flat_map(u16::to_le_bytes).collect() }),
    ),
    (
        "payload is not UTF-8",
        PAYLOAD_TEXT,
        Some(Reason::Malformed),
        payload!(|text| {
            let text = with(&text, "\"y\":\"@\"");
            text.into_iter().map(|byte| if byte == b'@' { 0xff } else { byte }).collect()
        }),
    ),
    (
        "payload holds an encoded surrogate",
        PAYLOAD_TEXT,
        Some(Reason::Malformed),
        payload!(|text| {
            let text = with(&text, "\"y\":\"@@@\"");
            let mut surrogate = [0xed, 0xa0, 0x80].into_iter();
            let change = |byte| if byte == b'@' { surrogate.next().unwrap() } else { byte };
            text.into_iter().map(change).collect()
        }),
    ),
];
