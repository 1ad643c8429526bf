//! The routes of plugins.

use super::{Answer, Body, Client, Result, query};
use crate::api::types::*;
use crate::plugin::manifest::PluginName;
use http::Method;
use serde_json::{Map, Value};

const MERGE_PATCH: &str = "application/merge-patch+json";

impl Client {
    pub async fn plugins(&self) -> Result<Answer<PluginList>> {
        self.get("/plugins").await
    }

    pub async fn plugin(&self, name: &PluginName) -> Result<Answer<Plugin>> {
        self.get(&format!("/plugins/{name}")).await
    }

    pub async fn enable_plugin(&self, name: &PluginName) -> Result<Answer<Plugin>> {
        self.act(Method::POST, &format!("/plugins/{name}/enable")).await
    }

    pub async fn disable_plugin(&self, name: &PluginName) -> Result<Answer<Plugin>> {
        self.act(Method::POST, &format!("/plugins/{name}/disable")).await
    }

    pub async fn plugin_config(&self, name: &PluginName) -> Result<Answer<PluginConfig>> {
        self.get(&format!("/plugins/{name}/config")).await
    }

    pub async fn configure_plugin(
        &self,
        name: &PluginName,
        patch: &Map<String, Value>,
    ) -> Result<Answer<PluginConfig>> {
        let (path, body) = (format!("/plugins/{name}/config"), super::json(patch));
        self.read(self.send(Method::PATCH, &path, Some(MERGE_PATCH), body).await?).await
    }

    pub async fn install_plugin(
        &self,
        replace: bool,
        media_type: &'static str,
        package: Body,
    ) -> Result<Answer<InstalledPlugin>> {
        let query = query(&[("replace", replace.then_some("true"))]);
        self.read(self.send(Method::POST, &format!("/plugins{query}"), Some(media_type), package).await?)
            .await
    }

    pub async fn remove_plugin(&self, name: &PluginName) -> Result<Answer<RemovedPlugin>> {
        self.act(Method::DELETE, &format!("/plugins/{name}")).await
    }

    pub async fn reload_plugins(&self) -> Result<Answer<PluginList>> {
        self.act(Method::POST, "/plugins/reload").await
    }
}
