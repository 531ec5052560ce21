//! Helpers of unit tests.

/// Fails to compile if a type is a layer.
macro_rules! assert_not_layer {
    ($builder:ty) => {
        const _: fn() = || {
            trait AmbiguousForLayers<A> {
                fn function() {}
            }
            struct IsLayer;
            impl<T> AmbiguousForLayers<()> for T {}
            impl<T: tower_layer::Layer<()>> AmbiguousForLayers<IsLayer> for T {}
            let _ = <$builder as AmbiguousForLayers<_>>::function;
        };
    };
}

pub(crate) use assert_not_layer;

pub(crate) fn is_layer<L: tower_layer::Layer<()>>(_: L) {}

pub(crate) fn can_be_shared<T: Clone + Send + Sync + 'static>() {}

pub(crate) fn can_be_sent<T: Send + 'static>() {}
