//! tmp
use kube_oidc_benches::inputs::*;
use kube_oidc_testing::*;
use kube_oidc::*;
#[tokio::main(flavor="current_thread")]
async fn main(){ let issuer=TestIssuer::start(); let token=pod_token(&issuer).mint(); let warm=std::env::args().nth(1).unwrap()=="warm"; let v=verifier(&issuer, if warm {1000} else {0}).await;
 let n: u32 = std::env::args().nth(2).unwrap().parse().unwrap(); let raw=RawCheck::of(&token,&issuer.signing_key());
 let stranger=SigningKey::generate(SigningAlgorithm::Rs256);
 let unknown=pod_token(&issuer).signed_by(&stranger).mint();
 let fixed=Verifier::builder(Issuer::new(issuer.url().parse().unwrap()).with_key_set(issuer.key_set().to_string())).audience(AUDIENCE).token_cache(0).build().unwrap();
 let mut best=[f64::MAX;4];
 for _ in 0..20 {
 let mut t=|i:usize,f:&mut dyn FnMut()| { let t=std::time::Instant::now(); for _ in 0..n { f(); } best[i]=best[i].min(t.elapsed().as_nanos() as f64/n as f64); };
 t(0,&mut||{std::hint::black_box(verify(&v,&token));});
 t(1,&mut||{raw.check();});
 t(2,&mut||{let _=std::hint::black_box(fixed.verify_now(&unknown));});
 t(3,&mut||{std::hint::black_box(verify(&fixed,&token));});
 }
 println!("fetched {:.0} raw {:.0} open {:.0} fixed {:.0}", best[0],best[1],best[2],best[3]);
}
