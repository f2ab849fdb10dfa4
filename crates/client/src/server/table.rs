//! Objects as Tables: the columns of a server's own choice.

use serde_json::Value;

use super::call::Call;
use super::verbs::PAGE;
use super::{ApiKind, Error, Select, Server};

/// A Table, or plain objects from a server that has no Tables.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

impl Server {
    /// A Table (`meta.k8s.io/v1`) of one object, or without a name of all that are selected.
    ///
    /// # Errors
    /// [`Error::is_not_found`], or as for every request, and if the server has no Tables.
    pub async fn table(
        &self,
        kind: &ApiKind,
        namespace: Option<&str>,
        name: Option<&str>,
        select: &Select,
    ) -> Result<Value, Error> {
        let Some(name) = name else { return self.table_of_all(kind, namespace, select).await };
        let call = Call::get(kind.object(namespace, name, None)?).accept(TABLE);
        self.is_table(self.call(call).await?)
    }

    /// All pages of a list. A server that changes meanwhile shows the first page's state, or says that
    /// this is gone, which is the end of it: tables are for people, who ask again.
    async fn table_of_all(
        &self,
        kind: &ApiKind,
        namespace: Option<&str>,
        select: &Select,
    ) -> Result<Value, Error> {
        let page = async |from: &str| {
            let call = Call::get(kind.collection(namespace)).select(select).accept(TABLE);
            let call = call.with("limit", PAGE.to_string()).with("continue", from);
            self.is_table(self.call(call).await?)
        };
        let mut table = page("").await?;
        let mut next = more(&table);
        while !next.is_empty() {
            let mut more_rows = page(&next).await?;
            next = more(&more_rows);
            let rows = more_rows.get_mut("rows").map(Value::take);
            if let (Some(Value::Array(all)), Some(Value::Array(rows))) =
                (table.get_mut("rows"), rows)
            {
                all.extend(rows);
            }
        }
        Ok(table)
    }

    fn is_table(&self, answer: Value) -> Result<Value, Error> {
        match answer.get("kind").and_then(Value::as_str) {
            Some("Table") => Ok(answer),
            _ => Err(self.not_understood("the server has no tables".to_owned())),
        }
    }
}

fn more(table: &Value) -> String {
    let next = table.pointer("/metadata/continue").and_then(Value::as_str);
    next.unwrap_or_default().to_owned()
}
