//! An app is served: the thinnest path.

use super::harness::Apps;

#[tokio::test]
async fn an_app_answers_under_its_name() {
    let server = Apps::new()
        .file(
            "hello/index.ts",
            "export default { fetch: (r: Request) => new Response(new URL(r.url).pathname) };",
        )
        .serve()
        .await;
    let answer = server.get("/hello/a/b?c").await;
    assert_eq!((answer.status(), answer.text()), (200, "/a/b"));
    assert!(!answer.header("x-request-id").is_empty());
}
