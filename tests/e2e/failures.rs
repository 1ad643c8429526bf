//! An app that throws.

use super::harness::{Apps, Launch, get_accepting};

fn throwing() -> Launch {
    let app = "interface Cart {
  total: number;
}

function total(cart: Cart | undefined): number {
  return (cart as Cart).total;
}

export default {
  async fetch(): Promise<Response> {
    await Bun.sleep(1);
    return new Response(String(total(undefined)));
  },
};";
    Apps::new().file("shop/index.ts", app).launch()
}

#[tokio::test]
async fn an_app_that_throws_is_500_with_a_problem_and_the_id_of_the_request() {
    let server = throwing().env("NODE_ENV", "production").env("HOST", "127.0.0.1").start().await;
    let answer = server.get("/shop/").await;
    assert_eq!(answer.problem(), (500, "app_error".to_owned()));
    assert_eq!(answer.json()["instance"], answer.header("x-request-id"));
    assert!(!answer.text().contains("undefined") && !answer.text().contains("index.ts"), "{answer:?}");
    // It lives on.
    assert_eq!(server.get("/shop/").await.status(), 500);
    assert_eq!(server.count("shop", "ready").await, 1);
}

#[tokio::test]
async fn in_development_the_page_shows_the_stack_with_the_lines_of_the_source() {
    let server = throwing().env("NODE_ENV", "development").start().await;
    let answer = server.send(get_accepting("/shop/", "text/html")).await;
    assert_eq!((answer.status(), answer.header("content-type")), (500, "text/html; charset=utf-8"));
    assert!(answer.text().contains("TypeError"), "{}", answer.text());
    for place in ["index.ts:6", "index.ts:12"] {
        assert!(answer.text().contains(place), "{place} is not in {}", answer.text());
    }
}
