//! Requests on their way through the phases.

use super::super::Stopped;
use super::*;

/// Takes a request through all phases, as the pipeline does.
async fn pass(host: &Host, request: &mut Request) -> std::result::Result<Option<Response>, Stopped> {
    let set = arc_swap::Guard::into_inner(host.current.load());
    for phase in Phase::ALL {
        if let Some(response) = set.pass(phase, request, &mut || Body::from("body"), &mut |_| {}).await? {
            return Ok(Some(response));
        }
    }
    Ok(None)
}

#[tokio::test]
async fn phases_come_in_their_order_and_plugins_in_that_of_their_dependencies() {
    let place = Place::new();
    // `a` needs `c`: it comes after it in each phase. `b` stands in three phases.
    place.plugin("a", "phases: [identify, serve]\ndependencies: [c]\n");
    place.plugin("b", "phases: [serve, resolve, permit]\n");
    place.plugin("c", "phases: [identify, serve]\n");
    let host = place.start().await.unwrap();
    assert_eq!(place.diary(), ["b init", "c init", "a init"]);
    pass(&host, &mut request("/watched/x")).await.unwrap();
    assert_eq!(
        place.diary(),
        ["b resolve", "c identify", "a identify", "b permit", "b serve", "c serve", "a serve"]
    );
    pass(&host, &mut request("/other")).await.unwrap();
    assert!(place.diary().is_empty(), "no filter matches");
    pass(&host, &mut request("/%77atched//x")).await.unwrap();
    assert_eq!(place.diary().len(), 7, "another spelling of the same path");
    host.shut_down(tokio::time::Instant::now() + std::time::Duration::from_secs(5)).await;
    assert_eq!(place.diary(), ["a shutdown", "c shutdown", "b shutdown"]);
}

#[tokio::test(start_paused = true)]
async fn whatever_a_hook_does_wrong_refuses_the_request_or_lets_it_go_on() {
    for (acts, closed, open) in [
        ("respond", "200", "200"),
        ("refuse", "403", "403"),
        ("fail", "failed: it could not", "on"),
        ("panic", "panicked: it does not like requests", "on"),
        ("panic-later", "panicked: it does not like requests", "on"),
        ("hang", "took longer than 2s", "on"),
        ("rename", "on", "on"),
    ] {
        for (fail_open, expected) in [(false, closed), (true, open)] {
            let place = Place::new();
            place.plugin("a", &format!("phases: [permit]\nacts: {acts}\nfailOpen: {fail_open}\n"));
            place.plugin("b", "phases: [serve]\n");
            let host = place.start().await.unwrap();
            place.diary();
            let passed = pass(&host, &mut request("/watched/x")).await;
            let outcome = match &passed {
                Ok(None) => "on".to_owned(),
                Ok(Some(response)) => response.status().as_u16().to_string(),
                Err(Stopped::Refused(problem)) => problem.status.as_u16().to_string(),
                Err(Stopped::Failed(error)) => error.why.to_string(),
            };
            assert_eq!(outcome, expected, "{acts}, failOpen {fail_open}");
            let went_on = place.diary().contains(&"b serve".to_owned());
            assert_eq!(went_on, expected == "on", "{acts}, failOpen {fail_open}");
        }
    }
}

#[tokio::test]
async fn to_resolve_is_to_refuse_or_to_redirect_and_not_to_answer() {
    for (acts, answered) in [("respond", None), ("redirect", Some(302))] {
        let place = Place::new();
        place.plugin("a", &format!("phases: [resolve]\nacts: {acts}\n"));
        let host = place.start().await.unwrap();
        match (pass(&host, &mut request("/watched/x")).await, answered) {
            (Ok(Some(response)), Some(status)) => assert_eq!(response.status(), status),
            (Err(Stopped::Failed(error)), None) => {
                assert!(error.to_string().contains("can only redirect or refuse"), "{error}");
            }
            (other, _) => panic!("{acts}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_body_is_lent_to_those_who_ask_for_it_and_to_nobody_else() {
    let place = Place::new();
    place.plugin("a", "phases: [preflight]\n");
    place.plugin("b", "phases: [permit]\nreadsBody: true\nacts: read\n");
    place.plugin("c", "phases: [serve]\n");
    let host = place.start().await.unwrap();
    place.diary();
    let mut request = request("/watched/x");
    pass(&host, &mut request).await.unwrap();
    assert_eq!(place.diary(), ["a preflight", "b permit with a body", "c serve"]);
    match request.into_parts().2 {
        Some(Body::Full(bytes)) => assert_eq!(bytes, "body"),
        other => panic!("the body is lost: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn answers_are_shown_in_the_reverse_order_and_a_failure_leaves_them_as_they_were() {
    let place = Place::new();
    place.plugin("a", "response: 'yes'\n");
    place.plugin("b", "response: fail\n");
    place.plugin("c", "response: hang\n");
    place.plugin("d", "response: 'yes'\n");
    let host = place.start().await.unwrap();
    place.diary();
    let set = arc_swap::Guard::into_inner(host.current.load());
    let response = set.respond(Response::new(Body::Empty), &request("/x")).await;
    assert_eq!(place.diary(), ["d response", "c response", "b response", "a response"]);
    let shown: Vec<_> = response.headers().get_all("x-shown").into_iter().collect();
    assert_eq!(shown, ["d", "a"]);
}

/// A body in pieces, and what they are together.
fn pieces(pieces: &[&'static str]) -> (Body, String) {
    let frames = pieces.iter().map(|piece| Ok(http_body::Frame::data((*piece).into()))).collect::<Vec<_>>();
    (Body::stream(http_body_util::StreamBody::new(futures_util::stream::iter(frames))), pieces.concat())
}

async fn text(body: Body) -> String {
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

static LARGE: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| "x".repeat(400_000));

#[tokio::test]
async fn a_request_whose_body_was_read_by_a_hook_that_failed_goes_on_with_it_or_not_at_all() {
    let place = Place::new();
    place.plugin("a", "phases: [permit]\nreadsBody: true\nacts: read-fail\nfailOpen: true\n");
    let host = place.start().await.unwrap();
    let set = arc_swap::Guard::into_inner(host.current.load());
    for (parts, goes_on) in [
        (&["a ", "stop", " b"][..], true),
        (&["all of ", "it"], true),
        (&[LARGE.as_str(), "stop", "b"], false),
        (&["stop", LARGE.as_str()], true),
    ] {
        let (body, whole) = pieces(parts);
        let (mut request, mut body) = (request("/watched/x"), Some(body));
        let passed =
            set.pass(Phase::Permit, &mut request, &mut || body.take().unwrap_or_default(), &mut |_| {}).await;
        let what = &whole[..whole.len().min(20)];
        match passed {
            Ok(None) => {
                assert!(goes_on, "{what}");
                assert_eq!(text(request.take_body()).await, whole);
            }
            Err(Stopped::Failed(_)) => assert!(!goes_on, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    // In memory it is only copied.
    let mut request = request("/watched/x");
    let passed = set.pass(Phase::Permit, &mut request, &mut || Body::from("in memory"), &mut |_| {}).await;
    assert!(matches!(passed, Ok(None)));
    assert_eq!(text(request.take_body()).await, "in memory");
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_body_was_taken_by_a_hook_that_failed_has_it_again_or_is_502() {
    for acts in ["read-hang", "fill"] {
        let place = Place::new();
        place.plugin("a", "response: 'yes'\n").plugin("b", &format!("response: {acts}\n"));
        let host = place.start().await.unwrap();
        let set = arc_swap::Guard::into_inner(host.current.load());
        for (parts, stays) in [
            (&["a ", "stop", " b"][..], true),
            (&["all of ", "it"], true),
            (&[LARGE.as_str(), "b"], acts == "fill"),
        ] {
            let (body, whole) = pieces(parts);
            let response = set.respond(Response::new(body), &request("/x")).await;
            if stays {
                assert_eq!(response.status(), 200);
                assert_eq!(text(response.into_body()).await, whole);
            } else {
                assert_eq!(response.status(), 502);
                let problem = response.extensions().get::<Problem>().unwrap();
                assert_eq!(problem.code, "plugin_failed");
            }
        }
        let response = set.respond(Response::new(Body::from("in memory")), &request("/x")).await;
        assert_eq!(text(response.into_body()).await, "in memory", "{acts}");
    }
}
