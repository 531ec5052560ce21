//! The settings of responses, which each middleware has.

/// Defines `response_format`, `realm`, and `map_rejection` for a builder with a field of the type
/// `Answering`.
macro_rules! define_response_setters {
    ($($answering:ident).+) => {
        /// Sets the format of responses to rejected requests.
        ///
        /// Defaults to the format that an outer [`OidcAuthLayer`](crate::OidcAuthLayer) sets, or to
        /// [`ResponseFormat::Auto`](crate::ResponseFormat::Auto). If that layer is missing, the
        /// response is HTTP.
        pub fn response_format(mut self, format: $crate::ResponseFormat) -> Self {
            self.$($answering).+.response_format(format);
            self
        }

        /// Sets the realm of challenges. Defaults to `kubernetes`.
        pub fn realm(mut self, realm: impl Into<String>) -> Self {
            self.$($answering).+.realm(realm.into());
            self
        }

        /// Sets a function that can change each response to a rejected request: see
        /// [`map_rejection`](crate::OidcAuthLayerBuilder::map_rejection) of the outer layer.
        pub fn map_rejection(
            mut self,
            map: impl Fn(
                &$crate::Rejection,
                $crate::RequestHead<'_>,
                http::Response<bytes::Bytes>,
            ) -> http::Response<bytes::Bytes>
            + Send
            + Sync
            + 'static,
        ) -> Self {
            self.$($answering).+.map(map);
            self
        }
    };
}

pub(crate) use define_response_setters;
