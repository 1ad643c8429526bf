//! TLS: settings that need others, and files that must be fit.

use super::*;

fn with_pair() -> Place {
    let place = Place::ready().pair("tls.crt", "tls.key");
    place.variable("RUNTIME_TLS_CERT", "tls.crt").variable("RUNTIME_TLS_KEY", "tls.key")
}

fn with_acme() -> Place {
    Place::ready().variable("RUNTIME_ACME_DOMAINS", "a.test")
}

#[test]
fn it_is_off_unless_there_is_a_certificate_or_a_name_to_get_one_for() {
    assert_eq!(Place::ready().config().tls, None);
    let tls = with_pair().config().tls.unwrap();
    assert_eq!((tls.http_port, tls.acme), (None, None));
    let place = with_acme().variable("RUNTIME_ACME_DOMAINS", "A.test, b.test,a.test");
    let place = place.variable("RUNTIME_HTTP_PORT", "0");
    let tls = place.config().tls.unwrap();
    let acme = tls.acme.unwrap();
    assert_eq!((tls.http_port, tls.sources.is_empty()), (Some(0), true));
    assert_eq!(acme.domains, ["a.test", "b.test"]);
    assert_eq!(acme.directory, "https://acme-v02.api.letsencrypt.org/directory");
    assert_eq!((acme.email, acme.ca), (None, None));
    let place = Place::ready().pair("certificates/a.crt", "certificates/a.key").file("tlsDir: certificates");
    assert_eq!(place.config().tls.unwrap().sources.dir, Some(place.path("certificates")));
    let place = with_pair().variable("RUNTIME_TLS_DIR", "apps");
    assert!(place.load().is_ok(), "an empty directory may fill");
}

#[test]
fn what_is_wrong_with_a_file_is_said_of_the_setting_that_names_it() {
    for (broken, error) in [
        ("tls.crt", "RUNTIME_TLS_CERT: $DIR/tls.crt is no PEM file with a certificate: "),
        ("tls.key", "RUNTIME_TLS_KEY: $DIR/tls.key is no PEM file with a private key: "),
    ] {
        let place = with_pair();
        std::fs::write(place.path(broken), "x").unwrap();
        assert!(place.error().starts_with(error), "{}", place.error());
        std::fs::remove_file(place.path(broken)).unwrap();
        assert!(
            place.error().contains(&format!("$DIR/{broken} cannot be read: No such file")),
            "{}",
            place.error()
        );
    }
    let place = with_pair().pair("tls.crt", "other.key");
    let error = "the key in $DIR/tls.key is not that of the certificate in $DIR/tls.crt";
    assert!(place.error().starts_with(&format!("RUNTIME_TLS_KEY: {error}")));
    let place = Place::ready().pair("c/a.crt", "a.key").variable("RUNTIME_TLS_DIR", "c");
    assert_eq!(place.error(), "RUNTIME_TLS_DIR: $DIR/c/a.crt is there without its key, a.key");
}

/// The service was given up for good where it was started again while files were being exchanged.
#[test]
fn what_is_wrong_with_a_pair_may_pass_and_what_is_wrong_with_a_setting_does_not() {
    let passes = |place: &Place| place.load().unwrap_err().may_pass();
    for file in ["tls.crt", "tls.key"] {
        let place = with_pair();
        std::fs::write(place.path(file), "half").unwrap();
        assert!(passes(&place), "{}", place.error());
        std::fs::remove_file(place.path(file)).unwrap();
        assert!(passes(&place), "{}", place.error());
    }
    assert!(passes(&with_pair().pair("tls.crt", "other.key")), "of another key");
    // Not mounted yet, and empty.
    for (dir, reason) in [
        ("none", "the directory $DIR/none cannot be read: No such file"),
        ("apps", "there is no certificate in $DIR/apps, nor anywhere else"),
    ] {
        let place = Place::ready().variable("RUNTIME_TLS_DIR", dir);
        assert!(passes(&place) && place.error().contains(reason), "{}", place.error());
        assert!(place.error().starts_with("RUNTIME_TLS_DIR"), "{}", place.error());
    }
    assert!(!passes(&Place::ready().variable("RUNTIME_TLS_CERT", "tls.crt")), "without a key");
    assert!(!passes(&with_pair().variable("RUNTIME_HTTP_PORT", "x")));
    let place = with_pair();
    std::fs::set_permissions(place.path("tls.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(!passes(&place), "a mode is for somebody to change");
}

#[test]
fn a_key_that_others_can_read_is_refused_with_a_hint_but_for_a_credential() {
    let open = |place: &Place, key: &str| {
        std::fs::set_permissions(place.path(key), std::fs::Permissions::from_mode(0o640)).unwrap();
    };
    let hint = "hint: chmod 600 $DIR/";
    let place = with_pair();
    open(&place, "tls.key");
    let error = "RUNTIME_TLS_KEY=$DIR/tls.key: others than its owner can read it (mode 0640)\n\n";
    assert!(place.error().starts_with(&format!("{error}{hint}tls.key")), "{}", place.error());
    let credentials = place.dir.path().to_str().unwrap().to_owned();
    assert!(place.variable("CREDENTIALS_DIRECTORY", &credentials).load().is_ok());
    let place = Place::ready().pair("c/a.crt", "c/a.key").variable("RUNTIME_TLS_DIR", "c");
    open(&place, "c/a.key");
    assert!(place.error().contains("RUNTIME_TLS_DIR=$DIR/c/a.key: others") && place.error().contains(hint));
}

#[test]
fn settings_that_contradict_each_other_are_an_error() {
    for (place, error) in [
        (
            with_pair().variable("RUNTIME_HTTP_PORT", "8000"),
            "RUNTIME_HTTP_PORT: `8000` is not valid: it is the port",
        ),
        (
            with_pair().variable("RUNTIME_HTTP_PORT", "x"),
            "RUNTIME_HTTP_PORT: `x` is not valid: it is not a whole",
        ),
        (
            with_pair().variable("HOST", "unix:/x"),
            "RUNTIME_TLS_CERT: `tls.crt` is not valid: TLS is for a TCP port",
        ),
        (
            with_acme().variable("HOST", "unix:/x"),
            "RUNTIME_ACME_DOMAINS: `a.test` is not valid: TLS is for a TCP",
        ),
        (
            with_acme().variable("RUNTIME_ACME_EMAIL", "ops"),
            "RUNTIME_ACME_EMAIL: `ops` is not valid: it is no such",
        ),
        (with_acme().variable("RUNTIME_ACME_EMAIL", "a@b?c=d"), "RUNTIME_ACME_EMAIL: `a@b?c=d` is not valid"),
        (
            with_acme().variable("RUNTIME_ACME_DIRECTORY", "http://a.test"),
            "RUNTIME_ACME_DIRECTORY: `http://a.test` is not valid: it does not begin with https://",
        ),
        (
            with_acme().variable("RUNTIME_ACME_CA", "bin/bun"),
            "RUNTIME_ACME_CA: `bin/bun` is not valid: there is no",
        ),
        (
            with_acme().variable("RUNTIME_ACME_CA", "none"),
            "RUNTIME_ACME_CA: `none` is not valid: No such file",
        ),
    ] {
        assert!(place.error().starts_with(error), "{}", place.error());
    }
    let many: Vec<String> = (0..101).map(|n| format!("n{n}.test")).collect();
    assert!(
        with_acme().variable("RUNTIME_ACME_DOMAINS", &many.join(",")).error().contains("there are too many")
    );
}
