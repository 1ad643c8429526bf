//! Bun does nothing by itself: it downloads nothing, and loads no `.env`.

use super::harness::{Answer, Apps};
use std::net::TcpListener;

#[tokio::test]
async fn bun_downloads_nothing() {
    // Whoever asks this registry for a package is noticed.
    let registry = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    registry.set_nonblocking(true).unwrap();
    let url = format!("http://{}/", registry.local_addr().unwrap());
    let app = "import leftPad from 'left-pad';
        export default { fetch: () => new Response(leftPad('a', 2)) };";
    let lazy = "export default {
            fetch: () => import('left-pad').then(() => new Response('found'), (error) => new Response(error.message)),
        };";
    let env = format!("env: {{ npm_config_registry: '{url}', BUN_CONFIG_REGISTRY: '{url}' }}");
    let server = Apps::new()
        .file("plain/index.ts", app)
        .file("plain/manifest.yaml", &env)
        .file("forcing/index.ts", app)
        .file("forcing/bunfig.toml", format!("[install]\nauto = 'force'\nregistry = '{url}'"))
        .file("lazy/index.ts", lazy)
        .file("lazy/manifest.yaml", &env)
        .launch()
        .env("NODE_ENV", "development")
        .start()
        .await;
    for app in ["plain", "forcing"] {
        let answer = server.get(&format!("/{app}/")).await;
        assert_eq!(answer.problem(), (503, "start_failed".to_owned()));
        assert!(answer.text().contains("left-pad"), "{answer:?}");
    }
    let answer = server.get("/lazy/").await;
    assert!(answer.text().contains("left-pad"), "{answer:?}");
    assert!(registry.accept().is_err(), "somebody asked the registry");
}

#[tokio::test]
async fn bun_loads_no_env_file_by_itself_and_the_supervisor_loads_the_apps_own() {
    let app = "export default { fetch: () => Response.json([process.env.A, process.env.B, process.env.C, process.env.D]) };";
    for spares in ["0", "1"] {
        let server = Apps::new()
            .file("app/index.ts", app)
            .file("app/manifest.yaml", "env: { A: manifest, B: manifest }")
            .file("app/.env", "B=\"from ${A}\"\n")
            .file("app/.env.local", "A=local\nC=local\n")
            .file("app/.env.test", "A=test\nC=test\nD=test\n")
            .file("app/.env.development", "D=development\n")
            .file("app/.env.production", "D=production\n")
            .launch()
            .env("RUNTIME_SPARE_WORKERS", spares)
            .start()
            .await;
        let answer: Answer = server.get("/app/").await;
        let b = answer.json()[1].clone();
        assert!(b.as_str().unwrap().starts_with("from"), "{b}");
        assert_eq!(answer.json(), serde_json::json!(["manifest", b, null, null]));
    }
}
