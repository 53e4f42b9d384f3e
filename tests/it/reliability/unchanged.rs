//! TBD
#[tokio::test(flavor = "multi_thread")]
async fn timing() {
    let sim = telelake::simulator::Simulator::start(super::tiny()).await.unwrap();
    let store = crate::support::memory::Memory::default();
    for _ in 0..5 {
        let t = std::time::Instant::now();
        let counting = crate::support::faulty::Faulty::counting(store.clone());
        let e = telelake::export::Exporter::new(super::config(&sim), std::sync::Arc::new(counting.clone()), Default::default(), &Default::default(), super::now()).unwrap();
        println!("new {:?}", t.elapsed());
        let s = e.run(&super::whole(&sim)).await.unwrap();
        println!("run {:?} {} ops {} requests {:?}", t.elapsed(), counting.calls().len(), s.counts.requests, s.counts.writes);
    }
    let t = std::time::Instant::now();
    super::rebuild(&sim, store.clone()).await.unwrap();
    println!("rebuild {:?}", t.elapsed());
    let t = std::time::Instant::now();
    super::import(&store, super::meta_file(&sim)).await.unwrap();
    println!("import {:?}", t.elapsed());
}
