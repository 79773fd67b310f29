//! What is read of certificates and lists, and what is not.

use sim::certificate::{Extension as Given, Name};
use sim::der::{self, oid, tag};

use super::*;

#[test]
fn only_canonical_small_integers_count() {
    for (der, expected) in [
        (&[2, 1, 0][..], Some(0)),
        (&[2, 1, 0x7f], Some(0x7f)),
        (&[2, 2, 0, 0x80], Some(0x80)),
        (&[2, 2, 0, 0xff], Some(0xff)),
        (&[2, 2, 0, 0x7f], None), // longer than need be
        (&[2, 1, 0x80], None),    // negative
        (&[2, 2, 1, 0], None),    // 256
        (&[2, 1, 0, 0], None),    // trailing
        (&[2, 0], None),
        (&[], None),
    ] {
        assert_eq!(small_integer(der), expected, "{der:?}");
    }
}

#[test]
fn only_version_3_is_well_formed() {
    let mut der = crate::anchors::intermediates()[1].der.to_vec();
    assert!(Certificate::parse(&der).unwrap().is_well_formed());
    let version = [0xa0, 3, 2, 1, 2];
    let at = der.windows(version.len()).position(|bytes| bytes == version).unwrap();
    der[at..][..version.len()].copy_from_slice(&[0xa0, 3, 2, 1, 1]);
    assert!(!Certificate::parse(&der).unwrap().is_well_formed());
}

#[test]
fn a_key_is_one_of_three_kinds() {
    let info = |algorithm: &[u64], parameters: &[u8], unused: u8, key: &[u8]| {
        let bits = [&[unused], key].concat();
        let algorithm = der::sequence(&[&der::object(algorithm), parameters]);
        der::sequence(&[&algorithm, &der::tlv(BIT_STRING, &bits)])
    };
    let rsa = |len: usize| der::sequence(&[&der::unsigned(&vec![0x81; len]), &der::integer(2)]);
    let of_rsa =
        |unused, len| info(&[1, 2, 840, 113_549, 1, 1, 1], &der::null(), unused, &rsa(len));
    let of_rsa_and = |more: &[u8]| {
        info(&[1, 2, 840, 113_549, 1, 1, 1], &der::null(), 0, &[&rsa(512), more].concat())
    };
    let of_curve = |curve: &[u64], unused, len| {
        info(&[1, 2, 840, 10045, 2, 1], &der::object(curve), unused, &vec![4; len])
    };
    let (p384, p256) = ([1, 3, 132, 0, 34], [1, 2, 840, 10045, 3, 1, 7]);
    let unnamed = [1, 2, 840, 10045, 2, 9];
    for (what, der, expected) in [
        ("rsa-4096", of_rsa(0, 512), "rsa"),
        ("rsa-2048", of_rsa(0, 256), "other"),
        ("rsa-8192", of_rsa(0, 1024), "other"),
        ("rsa that is cut within an octet", of_rsa(1, 512), "other"),
        ("p-384", of_curve(&p384, 0, 97), "p384"),
        ("p-256", of_curve(&p256, 0, 65), "p256"),
        ("p-256 of p-384's length", of_curve(&p256, 0, 97), "other"),
        ("p-384, compressed", of_curve(&p384, 0, 49), "other"),
        ("p-384 that is cut within an octet", of_curve(&p384, 1, 97), "other"),
        (
            "another curve of that length",
            of_curve(&[1, 3, 36, 3, 3, 2, 8, 1, 1, 11], 0, 97),
            "other",
        ),
        ("another curve of p-256's length", of_curve(&[1, 3, 132, 0, 10], 0, 65), "other"),
        ("rsa by another name", info(&unnamed, &der::null(), 0, &rsa(512)), "other"),
        ("p-384 by another name", info(&unnamed, &der::object(&p384), 0, &[4; 97]), "other"),
        ("p-256 by another name", info(&unnamed, &der::object(&p256), 0, &[4; 65]), "other"),
        ("rsa with something after it", of_rsa_and(&der::null()), "other"),
        (
            "rsa of a negative number",
            {
                let key = der::sequence(&[&der::tlv(INTEGER, &[0x81; 513]), &der::integer(2)]);
                info(&[1, 2, 840, 113_549, 1, 1, 1], &der::null(), 0, &key)
            },
            "other",
        ),
        ("seven bits to spare", info(&unnamed, &[], 7, &[4, 0x80]), "other"),
    ] {
        let found = match spki(&der).unwrap() {
            Key::Rsa4096(_) => "rsa",
            Key::P384(_) => "p384",
            Key::P256(_) => "p256",
            Key::Other => "other",
        };
        assert_eq!(found, expected, "{what}");
    }
    for (what, unused, bits) in
        [("more bits than there are", 8, [4, 0]), ("bits that are not zero", 3, [4, 4])]
    {
        assert!(spki(&info(&unnamed, &[], unused, &bits)).is_none(), "{what}");
    }
}

/// A list of one entry; `version` and the extensions are finished DER.
fn list(version: &[u8], of_entry: &[u8], of_list: &[u8]) -> Vec<u8> {
    let at = der::time(UnixTime::from_secs(1_795_000_000));
    let algorithm = der::tlv(SEQUENCE, PSS_SHA384);
    let entry = der::sequence(&[&der::integer(5), &at, &der::sequence(&[of_entry])]);
    let issuer = Name::amd("ARK-Genoa").encode();
    let of_list = der::explicit(0, &der::sequence(&[of_list]));
    let fields = [version, &algorithm, &issuer, &at, &at, &der::sequence(&[&entry]), &of_list];
    der::sequence(&[&der::sequence(&fields), &algorithm, &der::bit_string(&[0; 512])])
}

#[test]
fn a_list_that_says_less_than_it_seems_to_is_not_complete() {
    let extension = |oid: &[u64], critical: bool, value: &[u8]| {
        let flag = if critical { der::boolean(true) } else { Vec::new() };
        der::sequence(&[&der::object(oid), &flag, &der::octet_string(value)])
    };
    let number = extension(oid::CRL_NUMBER, false, &der::integer(5));
    let reason = |critical| extension(oid::CRL_REASON, critical, &[0x0a, 1, 1]);
    let unknown = extension(&[2, 5, 29, 27], true, &der::integer(4));
    let version = der::integer(1);
    for (what, der, complete) in [
        ("complete", list(&version, &reason(false), &number), true),
        ("an entry with a condition", list(&version, &reason(true), &number), false),
        ("a condition", list(&version, &reason(false), &[number.clone(), unknown].concat()), false),
        ("two numbers", list(&version, &reason(false), &number.repeat(2)), false),
        ("version 1", list(&[], &reason(false), &number), false),
    ] {
        assert_eq!(Crl::parse(&der).unwrap().is_complete(), complete, "{what}");
    }
}

/// A list in finished parts: version, algorithm, issuer, its times, entries, extensions.
fn list_of(change: impl Fn(&mut [Vec<u8>; 7])) -> Vec<u8> {
    let at = der::time(UnixTime::from_secs(1_795_000_000));
    let algorithm = der::tlv(SEQUENCE, PSS_SHA384);
    let entry = der::sequence(&[&der::integer(5), &at]);
    let extensions = der::explicit(0, &der::sequence(&[&number(&der::integer(5))]));
    let issuer = Name::amd("ARK-Genoa").encode();
    let (version, entries) = (der::integer(1), der::sequence(&[&entry]));
    let mut parts = [version, algorithm.clone(), issuer, at.clone(), at, entries, extensions];
    change(&mut parts);
    der::sequence(&[&der::sequence(&[&parts.concat()]), &algorithm, &der::bit_string(&[0; 512])])
}

/// The extension that numbers a list.
fn number(value: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::object(oid::CRL_NUMBER), &der::octet_string(value)])
}

#[test]
fn a_list_is_exact() {
    type Change = fn(&mut [Vec<u8>; 7]);
    let entry = |fields: &[&[u8]]| der::sequence(&[&der::sequence(fields)]);
    let changes: [(&str, bool, Change); 13] = [
        ("as it is", true, |_| {}),
        ("without an end", true, |parts| parts[4].clear()),
        ("without entries", true, |parts| parts[5].clear()),
        ("without extensions", true, |parts| parts[6].clear()),
        ("of version 1", true, |parts| parts[0].clear()),
        ("of version 3", false, |parts| parts[0] = der::integer(2)),
        ("an algorithm and more", false, |parts| {
            let object = der::object(&[1, 2, 3]);
            parts[1] = der::sequence(&[&object, &der::null(), &der::null()]);
        }),
        ("no times", false, |parts| parts[3..5].fill(Vec::new())),
        ("something after it", false, |parts| parts[6].extend(der::null())),
        ("entries that are none", false, |parts| parts[5] = der::sequence(&[&der::null()])),
        ("extensions that are none", false, |parts| {
            parts[6] = der::explicit(0, &der::sequence(&[&der::null()]));
        }),
        ("as many extensions as may be", true, |parts| {
            let all = number(&der::integer(5)).repeat(32);
            parts[6] = der::explicit(0, &der::sequence(&[&all]));
        }),
        ("too many extensions", false, |parts| {
            let all = number(&der::integer(5)).repeat(33);
            parts[6] = der::explicit(0, &der::sequence(&[&all]));
        }),
    ];
    for (what, is_one, change) in changes {
        let der = list_of(change);
        assert_eq!(Crl::parse(&der).is_ok(), is_one, "{what}");
    }
    let serial = der::integer(5);
    let at = der::time(UnixTime::from_secs(1_795_000_000));
    for (what, entries, is_one) in [
        (
            "a time of another form",
            entry(&[&serial, &der::tlv(tag::GENERALIZED_TIME, b"2026")]),
            true,
        ),
        ("no time", entry(&[&serial]), false),
        ("no number", entry(&[&at]), false),
        ("another time", entry(&[&serial, &der::octet_string(b"2026")]), false),
        ("a time that is no text", entry(&[&serial, &der::tlv(tag::UTC_TIME, &[0xff])]), false),
        ("an entry and more", entry(&[&serial, &at, &der::null()]), false),
        ("extensions that are none", entry(&[&serial, &at, &der::sequence(&[&serial])]), false),
    ] {
        let der = list_of(|parts| parts[5].clone_from(&entries));
        let list = Crl::parse(&der).ok();
        assert_eq!(list.is_some(), is_one, "{what}");
        assert!(list.is_none_or(|list| list.revokes(&[5]) && !list.revokes(&[6])));
    }
}

#[test]
fn a_lists_number_has_64_bits() {
    for (value, expected) in [
        (der::integer(5), Some(5)),
        (der::integer(0), Some(0)),
        (der::integer(0x80), Some(0x80)),
        (der::integer(u64::MAX), Some(u64::MAX)),
        (der::unsigned(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), None),
        (der::tlv(INTEGER, &[0x80]), None),
        (der::octet_string(&[5]), None),
        ([der::integer(5), der::null()].concat(), None),
    ] {
        let extensions = der::explicit(0, &der::sequence(&[&number(&value)]));
        let der = list_of(|parts| parts[6].clone_from(&extensions));
        assert_eq!(Crl::parse(&der).unwrap().number(), expected, "{value:?}");
    }
    let der = list_of(|parts| parts[6].clear());
    assert_eq!(Crl::parse(&der).unwrap().number(), None);
}

#[test]
fn lengths_are_minimal() {
    let long = |header: &[u8]| [header, &[7; 128]].concat();
    assert!(element(&long(&[0x30, 0x81, 0x80]), 0x30).is_some());
    for bad in [&[0x30, 0x82, 0, 0x80][..], &[0x30, 0x83, 0, 0, 0x80]] {
        assert_eq!(element(&long(bad), 0x30), None, "{bad:?}");
    }
    assert_eq!(element(&[0x30, 1, 9, 8], 0x30), Some((&[9][..], &[8][..])));
    for bad in [
        &[0x31, 1, 9][..],      // another tag
        &[0x30, 2, 9],          // truncated
        &[0x30, 0x81, 1, 9],    // long form of a short length
        &[0x30, 0x82, 0, 1, 9], // leading zero
        &[0x30, 0x80, 9, 0, 0], // indefinite
        &[0x30, 0x84, 0, 0, 0, 1, 9],
        &[0x30],
        &[],
    ] {
        assert_eq!(element(bad, 0x30), None, "{bad:?}");
    }
}

#[test]
fn strings_are_ascii_and_exact() {
    assert_eq!(ia5_string(b"\x16\x05Genoa"), Some("Genoa"));
    assert_eq!(ia5_string(b"\x16\x05Genoa!"), None);
    assert_eq!(ia5_string(b"\x0c\x05Genoa"), None);
    assert_eq!(ia5_string(b"\x16\x01\xff"), None);
    assert_eq!(ia5_string("\x16\x02é".as_bytes()), None);
}

/// What is read of a certificate, in words; `None` where it is refused.
fn ours(der: &[u8]) -> Option<String> {
    let read = Certificate::parse(der).ok()?;
    let extensions: Vec<_> = read
        .extensions
        .iter()
        .map(|item| (hex::encode(item.oid), item.critical, hex::encode(item.value)))
        .collect();
    Some(format!(
        "{:?}",
        (
            read.is_v3,
            hex::encode(read.serial()),
            (hex::encode(read.issuer), hex::encode(read.subject)),
            read.validity(),
            (read.is_ca(), read.is_well_formed()),
            extensions
        )
    ))
}

/// What x509-parser reads of it.
fn theirs(der: &[u8]) -> Option<String> {
    use x509_parser::certificate::X509Certificate;
    use x509_parser::extensions::ParsedExtension;
    let Ok(([], read)) = X509Certificate::from_der(der) else { return None };
    let extensions: Vec<_> = read
        .extensions()
        .iter()
        .map(|item| (hex::encode(item.oid.as_bytes()), item.critical, hex::encode(item.value)))
        .collect();
    let ca = read.basic_constraints().ok().flatten();
    let usage = read.key_usage().ok().flatten();
    let understood = |parsed: &ParsedExtension<'_>| {
        matches!(parsed, ParsedExtension::BasicConstraints(_) | ParsedExtension::KeyUsage(_))
    };
    let is_v3 = read.version() == x509_parser::x509::X509Version::V3;
    let contents = |name: &[u8]| hex::encode(only(name, SEQUENCE).unwrap());
    Some(format!(
        "{:?}",
        (
            is_v3,
            hex::encode(read.raw_serial()),
            (contents(read.issuer().as_raw()), contents(read.subject().as_raw())),
            (unix(read.validity().not_before), unix(read.validity().not_after)),
            (
                ca.is_some_and(|ca| ca.critical && ca.value.ca)
                    && usage.is_some_and(|usage| usage.value.key_cert_sign()),
                is_v3
                    && read.extensions_map().is_ok()
                    && read
                        .extensions()
                        .iter()
                        .all(|item| !item.critical || understood(item.parsed_extension()))
            ),
            extensions
        )
    ))
}

/// Certificates of a vendor, and each with one octet changed: what we read, a library reads too, and
/// alike. It may read more: of DER's many forms some are not read here at all.
#[test]
fn what_is_read_of_a_certificate_is_what_x509_parser_reads() {
    let mut read = 0_u32;
    for intermediate in crate::anchors::intermediates() {
        assert_eq!(ours(intermediate.der), theirs(intermediate.der));
        for at in 0..intermediate.der.len() {
            for flip in [0x01, 0x20, 0x80] {
                let mut der = intermediate.der.to_vec();
                der[at] ^= flip;
                let Some(ours) = ours(&der) else { continue };
                assert_eq!(Some(ours), theirs(&der), "octet {at} ^ {flip:#x}");
                read = read.saturating_add(1);
            }
        }
    }
    assert!(read > 10_000, "{read}");
}

/// A certificate with these names, finished, and extensions, which nobody signed.
fn certificate([issuer, subject]: [&[u8]; 2], extensions: &[Given]) -> Vec<u8> {
    let at = der::time(UnixTime::from_secs(1_795_000_000));
    let algorithm = der::tlv(SEQUENCE, ECDSA_SHA384);
    let curve = [der::object(&[1, 2, 840, 10045, 2, 1]), der::object(&[1, 3, 132, 0, 34])];
    let key = der::sequence(&[&der::sequence(&[&curve.concat()]), &der::bit_string(&[4; 97])]);
    let encode = |given: &Given| {
        let flag = if given.critical { der::boolean(true) } else { Vec::new() };
        der::sequence(&[&der::object(given.oid), &flag, &der::octet_string(&given.value)])
    };
    let list: Vec<_> = extensions.iter().map(encode).collect();
    let tbs = der::sequence(&[
        &der::explicit(0, &der::integer(2)),
        &der::integer(5),
        &algorithm,
        issuer,
        &der::sequence(&[&at, &at]),
        subject,
        &key,
        &der::explicit(3, &der::sequence(&[&list.concat()])),
    ]);
    der::sequence(&[&tbs, &algorithm, &der::bit_string(&[0; 96])])
}

const EXTENDED: der::Oid = &[2, 5, 29, 37];
const UNKNOWN: der::Oid = &[1, 2, 3, 4];
/// Key usages: `digitalSignature`; `keyCertSign`.
const SIGNS: [u8; 4] = [BIT_STRING, 2, 7, 0x80];
const ISSUES: [u8; 4] = [BIT_STRING, 2, 2, 4];

fn constraints(is_ca: bool) -> Given {
    let flag = if is_ca { der::boolean(true) } else { Vec::new() };
    Given::critical(oid::BASIC_CONSTRAINTS, der::sequence(&[&flag]))
}

fn usage(bits: [u8; 4]) -> Given {
    Given::critical(oid::KEY_USAGE, bits.to_vec())
}

fn plain(given: &Given) -> Given {
    Given { critical: false, ..given.clone() }
}

/// What a certificate with these extensions may do: issue, claim to issue, sign, and answer about revocation; and
/// whether it is well-formed.
fn roles(extensions: &[Given]) -> [bool; 5] {
    let name = Name::amd("ARK-Genoa").encode();
    let der = certificate([&name, &name], extensions);
    let it = Certificate::parse(&der).unwrap();
    [it.is_ca(), it.claims_ca(), it.may_sign(), it.is_for_ocsp(), it.is_well_formed()]
}

#[test]
fn what_a_certificate_may_do_is_what_its_extensions_say() {
    let (yes, no) = (true, false);
    let ca = constraints(true);
    let unreadable = |oid| Given::critical(oid, vec![5, 0]);
    let unknown = Given::critical(UNKNOWN, vec![5, 0]);
    for (what, extensions, [is_ca, claims, signs, well_formed]) in [
        ("nothing", vec![], [no, no, no, yes]),
        ("an authority", vec![ca.clone(), usage(ISSUES)], [yes, yes, no, yes]),
        ("without a usage", vec![ca.clone()], [no, yes, no, yes]),
        ("with another usage", vec![ca.clone(), usage(SIGNS)], [no, yes, yes, yes]),
        ("by usage alone", vec![usage(ISSUES)], [no, yes, no, yes]),
        ("no authority", vec![constraints(false), usage(ISSUES)], [no, yes, no, yes]),
        ("not critically", vec![plain(&ca), usage(ISSUES)], [no, yes, no, yes]),
        ("twice", vec![ca.clone(), ca.clone(), usage(ISSUES)], [no, yes, no, no]),
        ("a usage twice", vec![ca.clone(), usage(ISSUES), usage(ISSUES)], [no, yes, no, no]),
        ("unreadable constraints", vec![unreadable(oid::BASIC_CONSTRAINTS)], [no, yes, no, no]),
        ("an unreadable usage", vec![unreadable(oid::KEY_USAGE)], [no, yes, no, no]),
        ("one that signs", vec![constraints(false), usage(SIGNS)], [no, no, yes, yes]),
        ("signs, not critically", vec![plain(&usage(SIGNS))], [no, no, no, yes]),
        (
            "signs, and another is critical",
            vec![plain(&usage(SIGNS)), constraints(false)],
            [no, no, no, yes],
        ),
        ("signs twice", vec![usage(SIGNS), usage(SIGNS)], [no, yes, no, no]),
        ("with a condition", vec![usage(SIGNS), unknown.clone()], [no, no, yes, no]),
        ("with a remark", vec![usage(SIGNS), plain(&unknown)], [no, no, yes, yes]),
        ("with a remark, twice", vec![plain(&unknown), plain(&unknown)], [no, no, no, no]),
    ] {
        assert_eq!(roles(&extensions), [is_ca, claims, signs, false, well_formed], "{what}");
    }
}

#[test]
fn who_answers_about_revocation_does_nothing_else() {
    let ocsp = der::object(&[1, 3, 6, 1, 5, 5, 7, 3, 9]);
    let server = der::object(&[1, 3, 6, 1, 5, 5, 7, 3, 1]);
    let uses = |uses: &[&[u8]]| Given::critical(EXTENDED, der::sequence(uses));
    let own = || uses(&[&ocsp]);
    let unknown = Given::critical(UNKNOWN, vec![5, 0]);
    for (what, extensions, expected) in [
        ("it does", vec![usage(SIGNS), own()], true),
        ("not critically", vec![usage(SIGNS), plain(&own())], true),
        ("no authority", vec![usage(SIGNS), own(), constraints(false)], true),
        ("with a remark", vec![usage(SIGNS), own(), plain(&unknown)], true),
        ("something else too, first", vec![usage(SIGNS), uses(&[&server, &ocsp])], true),
        ("something else too, last", vec![usage(SIGNS), uses(&[&ocsp, &server])], true),
        ("something else", vec![usage(SIGNS), uses(&[&server])], false),
        ("nothing", vec![usage(SIGNS), uses(&[])], false),
        ("unsaid", vec![usage(SIGNS)], false),
        ("twice", vec![usage(SIGNS), own(), own()], false),
        ("no list", vec![usage(SIGNS), Given::critical(EXTENDED, ocsp.clone())], false),
        ("no list of uses", vec![usage(SIGNS), uses(&[&ocsp, &der::null()])], false),
        ("without a usage", vec![own()], false),
        ("a usage that is not critical", vec![plain(&usage(SIGNS)), own()], false),
        ("of another usage", vec![usage([BIT_STRING, 2, 6, 0x40]), own()], false),
        ("an authority", vec![usage(SIGNS), own(), constraints(true)], false),
        ("with a condition", vec![usage(SIGNS), own(), unknown], false),
    ] {
        assert_eq!(roles(&extensions)[3], expected, "{what}");
    }
}

#[test]
fn a_name_is_sets_of_attributes_and_has_one_common_name() {
    let attribute =
        |oid, tag, text: &[u8]| der::sequence(&[&der::object(oid), &der::tlv(tag, text)]);
    let cn = |tag, text: &[u8]| attribute(oid::COMMON_NAME, tag, text);
    let country = attribute(oid::COUNTRY, tag::PRINTABLE, b"US");
    let name = |sets: &[&[u8]]| der::sequence(sets);
    let good = cn(tag::UTF8, b"ARK");
    let both = [good.clone(), country.clone()].concat();
    for (what, name, expected) in [
        ("one", name(&[&der::set(&good)]), Some("ARK")),
        ("printable", name(&[&der::set(&cn(tag::PRINTABLE, b"ARK"))]), Some("ARK")),
        ("of ASCII", name(&[&der::set(&cn(tag::IA5, b"ARK"))]), Some("ARK")),
        ("of another kind", name(&[&der::set(&cn(0x1e, b"ARK"))]), Some("")),
        ("no text", name(&[&der::set(&cn(tag::UTF8, b"\xff"))]), Some("")),
        ("after another", name(&[&der::set(&country), &der::set(&good)]), Some("ARK")),
        ("in one set", name(&[&der::set(&both)]), Some("ARK")),
        ("two", name(&[&der::set(&good), &der::set(&good)]), Some("")),
        ("two in one set", name(&[&der::set(&good.repeat(2))]), Some("")),
        ("none", name(&[&der::set(&country)]), Some("")),
        ("nothing", name(&[]), Some("")),
        ("an empty set", name(&[&der::set(&[])]), None),
        ("an empty set after it", name(&[&der::set(&good), &der::set(&[])]), None),
        ("no set", name(&[&good]), None),
        ("no attribute", name(&[&der::set(&der::null())]), None),
        ("an attribute and more", name(&[&der::set(&[good.clone(), der::null()].concat())]), None),
        ("a set and more", name(&[&der::set(&good), &der::null()]), None),
        ("no value", name(&[&der::set(&der::sequence(&[&der::object(oid::COUNTRY)]))]), None),
        (
            "two values",
            {
                let ark = der::tlv(tag::UTF8, b"ARK");
                name(&[&der::set(&der::sequence(&[&der::object(oid::COMMON_NAME), &ark, &ark]))])
            },
            None,
        ),
    ] {
        let other = Name::amd("other").encode();
        for (names, is_subject) in [([&other, &name], true), ([&name, &other], false)] {
            let der = certificate(names.map(Vec::as_slice), &[]);
            let read = Certificate::parse(&der).ok();
            let found =
                read.as_ref().map(|it| if is_subject { it.subject_cn() } else { it.issuer_cn() });
            assert_eq!(found, expected, "{what}");
            assert!(!read.is_some_and(|it| it.is_self_issued()), "{what}");
        }
        let der = certificate([&name, &name], &[]);
        assert!(Certificate::parse(&der).is_ok_and(|it| it.is_self_issued()) || expected.is_none());
    }
}

#[test]
fn nobody_signs_with_a_key_that_is_not_known() {
    let name = Name::amd("ARK-Genoa").encode();
    let der = certificate([&name, &name], &[]);
    assert!(!Certificate::parse(&der).unwrap().is_signed_by(Key::Other));
}
